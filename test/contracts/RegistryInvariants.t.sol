// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../contracts/DevUsdc.sol";
import {Registry} from "../../contracts/Registry.sol";
import {newDevUsdc, newRegistry} from "./support/Published.sol";
import {RegistryHandler} from "./support/RegistryHandler.sol";
import {Test} from "./support/Test.sol";

/// @title I-15: what holds of names after any sequence of actions of anybody
/// @dev To run this file alone, name the handler's as well: the runner calls only what it compiled.
contract RegistryInvariantsTest is Test {
    RegistryHandler private handler;

    function setUp() public {
        vm.warp(NOW);
        DevUsdc usdc = newDevUsdc();
        Registry registry = newRegistry(usdc, 5);
        handler = new RegistryHandler(registry, usdc);
    }

    /// @dev Read by the test runner: it calls the actions of these and nothing else.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @notice The handler compares after each action.
    function invariant_EveryActionDoesWhatTheModelDoes() public view {
        vm.assertEq(handler.violation(), "", "violation");
    }

    // ------------------------------------------------- the invariants are not empty

    /// @dev Of `who` in the handler: the name's owner, or this person, of whom the fourth is
    /// a stranger.
    uint256 private constant OWNER = 0;
    uint256 private constant PERSON = 1 << 32;

    /// @notice The actions can go through every branch: the invariant holds of something. Told as
    /// a story, because the runner keeps all that a test does in memory.
    function test_TheActionsReachEveryBranchOfTheRegistry() public {
        _anOwnersYears();
        _lapsesAndGifts();
        _wrongWays();
        vm.assertEq(handler.violation(), "", "violation");
    }

    function _anOwnersYears() private {
        handler.take(0, 0, 0, 1);
        _reached("take: free");
        handler.take(0, 1, 0, 2);
        _reached("take: owned");
        handler.change(0, OWNER, 0, 7);
        _reached("resolver: owner");
        handler.change(0, OWNER, 1, 7);
        _reached("ttl");
        handler.setOperator(0, 1, true);
        _reached("operator: yes");
        handler.change(0, PERSON + 1, 0, 8);
        _reached("resolver: operator");
        handler.change(0, PERSON + 3, 0, 9);
        _reached("resolver: refused");
        handler.change(0, PERSON + 1, 2, 1);
        _reached("owner: refused");
        handler.setOperator(0, 1, false);
        _reached("operator: no");
        handler.change(0, OWNER, 2, 1);
        _reached("owner: given away");
        handler.renew(0, OWNER, 0);
        _reached("renew: owned");
        handler.renew(0, PERSON + 3, 0);
        _reached("renew: refused");
        handler.passTo(0, 0, 2);
        _reached("time passes to a border");
        handler.change(0, OWNER, 0, 10);
        _reached("resolver: not now");
        handler.take(0, 2, 0, 3);
        _reached("take: in grace");
        handler.renew(0, OWNER, 0);
        _reached("renew: in grace");
    }

    function _lapsesAndGifts() private {
        handler.passTo(0, 0, 2);
        handler.unregister(0, OWNER);
        _reached("unregister: in grace");
        handler.take(0, 0, 0, 4);
        _reached("take: given back");
        handler.takeLate(0, 0, 5);
        _reached("take late: given back");
        handler.passTo(0, 1, 2);
        handler.take(0, 1, 0, 6);
        _reached("take: lapsed");
        handler.unregister(0, OWNER);
        _reached("unregister: lapsed");
        handler.takeLate(0, 0, 7);
        handler.takeLate(0, 1, 8);
        _reached("take late: lapsed");
        _reached("bond: waits for its owner");
        handler.withdrawRefund(0);
        _reached("refund");
        handler.withdrawRefund(0);
        _reached("refund: none");
        handler.unregister(0, PERSON + 3);
        _reached("unregister: refused");
        handler.unregister(0, OWNER);
        _reached("unregister: owned");
        handler.takeLate(1, 0, 9);
        _reached("take late: free");
        handler.passTo(1, 2, 2);
        handler.unregister(1, OWNER);
        _reached("unregister: free");
    }

    function _wrongWays() private {
        string[5] memory ways = ["uncommitted", "early", "late", "other owner", "other time"];
        for (uint256 how = 0; how < 5; ++how) {
            handler.takeWrongly(2, 0, how, 10 + how);
            _reached(string.concat("take wrongly: ", ways[how]));
        }
        handler.takeTwice(2, 0, 20);
        _reached("take twice");
        handler.pass(0);
        _reached("time passes");
    }

    function _reached(string memory branch) private view {
        vm.assertTrue(handler.reached(branch) != 0, string.concat("reached: ", branch));
    }
}
