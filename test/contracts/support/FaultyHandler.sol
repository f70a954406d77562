// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Escrow} from "../../../contracts/Escrow.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {newEscrow} from "./Published.sol";
import {Signing} from "./Signing.sol";
import {Test} from "./Test.sol";
import {FaultyToken} from "./Tokens.sol";

/// @title An escrow over a token that its owner spoils at any time, as USDC's could
/// @dev What moves tokens may fail; what settles may not, whatever the token does (I-14).
contract FaultyHandler is Signing, Test {
    Escrow public immutable escrow;
    FaultyToken public immutable token;

    address[3] public accounts = [account("payer 1"), account("payer 2"), account("provider")];
    string public violation;
    mapping(string branch => uint256) public reached;

    constructor() {
        token = new FaultyToken();
        escrow = newEscrow(token);
        for (uint256 i = 0; i < 3; ++i) {
            token.mint(accounts[i], 1_000_000);
            vm.prank(accounts[i]);
            token.approve(address(escrow), type(uint256).max);
        }
    }

    // --------------------------------------------------------- the token's owner

    function spoil(uint256 fault) external {
        token.setFault(FaultyToken.Fault(fault % (uint256(type(FaultyToken.Fault).max) + 1)));
        reached["spoil"]++;
    }

    function repair() external {
        token.setFault(FaultyToken.Fault.None);
    }

    function blacklist(uint256 who, bool listed) external {
        token.setBlacklisted(accounts[who % 3], listed);
        reached["blacklist"]++;
    }

    /// @notice The next transfer calls the escrow in its middle, in the token's name or in a payer's.
    function hook(uint256 what, uint256 amount) external {
        uint256 part = 1 + (amount % 50);
        bytes[5] memory calls = [
            abi.encodeCall(IEscrow.deposit, (part)),
            abi.encodeCall(IEscrow.withdraw, (part)),
            abi.encodeCall(IEscrow.withdrawTo, (accounts[0], part)),
            abi.encodeCall(IEscrow.depositFor, (accounts[1], part)),
            abi.encodeCall(IEscrow.consume, (accounts[0], part))
        ];
        token.setHook(address(escrow), calls[what % 5]);
        reached["hook"]++;
    }

    // ------------------------------------------------------------ everybody else

    function deposit(uint256 who, uint256 amount) external {
        address owner = accounts[who % 3];
        uint256 part = 1 + (amount % 500);
        uint256 before = escrow.balanceOf(owner);
        (bool done, ) = _as(owner, abi.encodeCall(IEscrow.deposit, (part)));
        _check(escrow.balanceOf(owner) == before + (done ? part : 0), "all of it or nothing");
        reached[done ? "deposit" : "deposit: refused"]++;
    }

    function withdraw(uint256 who, uint256 amount, uint256 to) external {
        address owner = accounts[who % 3];
        uint256 before = escrow.balanceOf(owner);
        if (before == 0) return;
        uint256 part = 1 + (amount % before);
        (bool done, ) = _as(
            owner,
            abi.encodeCall(IEscrow.withdrawTo, (accounts[to % 3], part))
        );
        _check(escrow.balanceOf(owner) == before - (done ? part : 0), "all of it or nothing");
        reached[done ? "withdraw" : "withdraw: refused"]++;
    }

    function approve(uint256 who, uint256 more) external {
        address payer = accounts[who % 2];
        uint256 free = escrow.balanceOf(payer);
        (, uint256 budget) = escrow.allowance(payer, accounts[2]);
        uint256 wanted = budget + (more % (free + 1));
        (bool done, ) = _as(
            payer,
            abi.encodeWithSignature(
                "approve(address,uint256,uint256)",
                accounts[2],
                10,
                wanted
            )
        );
        _check(done, "I-14: reserving asks nothing of the token");
        reached["approve"]++;
    }

    function settle(uint256 who, uint256 calls) external {
        address payer = accounts[who % 2];
        IEscrow.Grant memory grant = escrow.grantOf(payer, accounts[2], address(0));
        uint256 newCalls = 1 + (calls % 5);
        uint256 due = 10 * newCalls;
        uint256 before = escrow.balanceOf(accounts[2]);
        (bool done, ) = _as(
            accounts[2],
            abi.encodeCall(
                IEscrow.settle,
                (
                    abi.encodePacked(
                        payer,
                        uint64(grant.spent + due),
                        uint32(grant.calls + newCalls)
                    ),
                    "root"
                )
            )
        );
        _check(done, "I-14: settling asks nothing of the token");
        uint256 paid = escrow.balanceOf(accounts[2]) - before;
        if (grant.expiry != 0 && due <= grant.budget) _check(paid == due, "I-14: and pays");
        reached[paid == 0 ? "settle: nothing" : "settle: paid"]++;
    }

    function _as(address who, bytes memory data) private returns (bool, bytes memory) {
        vm.prank(who);
        return address(escrow).call(data);
    }

    function _check(bool holds, string memory what) private {
        if (!holds && bytes(violation).length == 0) violation = what;
    }
}
