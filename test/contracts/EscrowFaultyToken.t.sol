// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Escrow} from "../../contracts/Escrow.sol";
import {FaultyHandler} from "./support/FaultyHandler.sol";
import {Test} from "./support/Test.sol";
import {FaultyToken} from "./support/Tokens.sol";

/// @title I-14: what a spoilt token cannot do
/// @dev To run this file alone, name the handler's as well: the runner calls only what it compiled.
contract EscrowFaultyTokenTest is Test {
    FaultyHandler private handler;

    function setUp() public {
        vm.warp(NOW);
        handler = new FaultyHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// hardhat-config: invariant.runs = 200
    function invariant_NobodyLosesByASpoiltToken() public view {
        vm.assertEq(handler.violation(), "", "violation");
        Escrow escrow = handler.escrow();
        FaultyToken token = handler.token();
        uint256 owed = escrow.balanceOf(address(token));
        for (uint256 i = 0; i < 3; ++i) {
            address who = handler.accounts(i);
            (, uint256 budget) = escrow.allowance(who, handler.accounts(2));
            owed += escrow.balanceOf(who) + budget;
        }
        assertEq(escrow.totalHeld(), owed, "held is what is owed");
        assertEq(token.balanceOf(address(escrow)), owed, "I-1: and it is there");
    }

    function test_TheActionsReachEveryBranch() public {
        uint256 seed = 3;
        for (uint256 step = 0; step < 500; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(step % 9, seed >> 8);
            invariant_NobodyLosesByASpoiltToken();
        }
        string[10] memory branches = [
            "spoil",
            "blacklist",
            "hook",
            "deposit",
            "deposit: refused",
            "withdraw",
            "withdraw: refused",
            "approve",
            "settle: nothing",
            "settle: paid"
        ];
        for (uint256 i = 0; i < branches.length; ++i) {
            vm.assertTrue(
                handler.reached(branches[i]) >= 3,
                string.concat("reached: ", branches[i])
            );
        }
    }

    function _act(uint256 action, uint256 seed) private {
        if (action == 0) handler.spoil(seed);
        if (action == 1) handler.repair();
        if (action == 2) handler.blacklist(seed, seed % 3 == 0);
        if (action == 3) handler.hook(seed, seed >> 64);
        if (action == 4 || action == 5) handler.deposit(seed, seed >> 64);
        if (action == 6) handler.withdraw(seed, seed >> 64, seed >> 128);
        if (action == 7) handler.approve(seed, seed >> 64);
        if (action == 8) handler.settle(seed, seed >> 64);
    }
}
