// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Vm} from "./Vm.sol";

/// @title What every test of a contract stands on
abstract contract Test {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @dev A time as it is today: tests that subtract from it must not fall below zero.
    uint256 internal constant NOW = 1_800_000_000;

    /// @dev An account with an address as people have them; `keyOf` signs for it.
    function account(string memory label) internal pure returns (address) {
        return vm.addr(keyOf(label));
    }

    function keyOf(string memory label) internal pure returns (uint256) {
        return uint256(keccak256(bytes(label)));
    }

    /// @dev Any number as one between `low` and `high`, both included.
    function bound(uint256 any, uint256 low, uint256 high) internal pure returns (uint256) {
        if (low == 0 && high == type(uint256).max) return any;
        return low + (any % (high - low + 1));
    }

    function assertEq(uint256 got, uint256 wanted, string memory what) internal pure {
        vm.assertEq(got, wanted, what);
    }
}
