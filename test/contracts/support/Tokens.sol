// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A token that a blacklist, a pause, a fee or a lie can spoil, as USDC's owner could
contract FaultyToken is ERC20 {
    enum Fault {
        None,
        Paused,
        Fee,
        Lies,
        ReturnsFalse,
        Gives
    }

    Fault public fault;
    mapping(address account => bool) public blacklisted;
    address private hookTarget;
    bytes private hookCall;

    /// @notice What the call made during a transfer came to.
    bool public hookSucceeded;
    bytes public hookAnswer;

    error Refused();

    constructor() ERC20("Faulty", "BAD") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setFault(Fault fault_) external {
        fault = fault_;
    }

    function blacklist(address who) external {
        blacklisted[who] = true;
    }

    function setBlacklisted(address who, bool listed) external {
        blacklisted[who] = listed;
    }

    /// @notice Makes the next transfer call somebody in its middle.
    function setHook(address target, bytes calldata call) external {
        hookTarget = target;
        hookCall = call;
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(
        address from,
        address to,
        uint256 amount
    ) public override returns (bool) {
        _spendAllowance(from, msg.sender, amount);
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (fault == Fault.Paused || blacklisted[from] || blacklisted[to]) revert Refused();
        if (hookTarget != address(0)) {
            (hookSucceeded, hookAnswer) = hookTarget.call(hookCall);
            hookTarget = address(0);
        }
        if (fault == Fault.ReturnsFalse) return false;
        if (fault == Fault.Lies) return true;
        _transfer(from, to, amount);
        if (fault == Fault.Fee) _burn(to, 1);
        if (fault == Fault.Gives) _mint(to, 1);
        return true;
    }
}
