// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../contracts/DevUsdc.sol";
import {Registry} from "../../contracts/Registry.sol";
import {RegistryHandler} from "./support/RegistryHandler.sol";
import {Test} from "./support/Test.sol";

/// @title I-15: what holds of names after any sequence of actions of anybody
/// @dev To run this file alone, name the handler's as well: the runner calls only what it compiled.
contract RegistryInvariantsTest is Test {
    RegistryHandler private handler;

    function setUp() public {
        vm.warp(NOW);
        DevUsdc usdc = new DevUsdc();
        Registry registry = new Registry(usdc, 5);
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

    /// @notice The actions above go through every branch: the invariant holds of something.
    function test_TheActionsReachEveryBranchOfTheRegistry() public {
        uint256 seed = 7;
        for (uint256 step = 0; step < 3_000; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(seed % 11, seed);
        }
        vm.assertEq(handler.violation(), "", "violation");
        string[35] memory branches = [
            "take: free",
            "take: owned",
            "take: in grace",
            "take: lapsed",
            "take: given back",
            "take late: free",
            "take late: lapsed",
            "take late: given back",
            "take wrongly: uncommitted",
            "take wrongly: early",
            "take wrongly: late",
            "take wrongly: other owner",
            "take wrongly: other time",
            "take twice",
            "resolver: owner",
            "resolver: operator",
            "resolver: not now",
            "resolver: refused",
            "ttl",
            "owner: given away",
            "owner: refused",
            "renew: owned",
            "renew: in grace",
            "renew: refused",
            "unregister: owned",
            "unregister: in grace",
            "unregister: lapsed",
            "unregister: free",
            "unregister: refused",
            "refund",
            "refund: none",
            "operator: yes",
            "operator: no",
            "bond: waits for its owner",
            "time passes to a border"
        ];
        for (uint256 i = 0; i < branches.length; ++i) {
            vm.assertTrue(
                handler.reached(branches[i]) >= 3,
                string.concat("reached: ", branches[i])
            );
        }
    }

    function _act(uint256 action, uint256 seed) private {
        uint256 a = seed >> 16;
        uint256 b = seed >> 80;
        uint256 c = seed >> 144;
        if (action == 0) handler.take(a, b, c, seed);
        if (action == 1) handler.takeLate(a, b, seed);
        if (action == 2) handler.takeWrongly(a, b, c, seed);
        if (action == 3) handler.takeTwice(a, b, seed);
        if (action == 4 || action == 5) handler.change(a, b, c, seed);
        if (action == 6) handler.renew(a, b, c);
        if (action == 7) handler.unregister(a, b);
        if (action == 8) handler.setOperator(a, b, c % 2 == 0);
        if (action == 9 && c % 2 == 0) handler.withdrawRefund(a);
        if (action == 9 && c % 2 == 1) handler.pass(b);
        if (action == 10) handler.passTo(a, b, c);
    }
}
