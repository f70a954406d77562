// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../../contracts/DevUsdc.sol";
import {Registry} from "../../../contracts/Registry.sol";
import {IRegistry} from "../../../contracts/interfaces/IRegistry.sol";
import {newDevUsdc, newRegistry} from "./Published.sol";
import {Test} from "./Test.sol";

/// @title A registry, people who want names, and short words for what they do
abstract contract RegistryTest is Test {
    uint256 internal constant BOND = 5_000_000;
    uint256 internal constant DURATION = 365 days;
    uint256 internal constant GRACE = 30 days;
    uint256 internal constant QUARANTINE = 7 days;
    bytes32 internal constant SECRET = bytes32("secret");
    string internal constant LABEL = "alice";

    DevUsdc internal usdc;
    Registry internal registry;
    bytes32 internal node = nodeOf(LABEL);
    address internal alice = account("alice");
    address internal mallory = account("mallory");
    address internal operator = account("operator");
    address internal resolver = account("resolver");

    function setUp() public virtual {
        vm.warp(NOW);
        usdc = newDevUsdc();
        registry = newRegistry(usdc, BOND);
    }

    function nodeOf(string memory label) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(bytes32(0), keccak256(bytes(label))));
    }

    function commitmentOf(string memory label, address who) internal view returns (bytes32) {
        return registry.makeCommitment(label, who, resolver, DURATION, SECRET);
    }

    /// @dev Commits, a minute passes, and `who` has what the bond takes.
    function prepare(string memory label, address who) internal {
        registry.commit(commitmentOf(label, who));
        vm.warp(block.timestamp + 60);
        usdc.mint(who, BOND);
        vm.prank(who);
        usdc.approve(address(registry), BOND);
    }

    function reveal(string memory label, address who) internal {
        vm.prank(who);
        registry.register(label, who, resolver, DURATION, SECRET);
    }

    function take(string memory label, address who) internal {
        prepare(label, who);
        reveal(label, who);
    }

    function expectRevert(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    function expectNotOwner(address owner, address caller) internal {
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, node, owner, caller)
        );
        vm.prank(caller);
    }

    /// @dev I-15: the seed's getters and those of ENS say the same.
    function assertOwner(address owner, address resolver_, string memory what) internal view {
        vm.assertEq(registry.owner(node), owner, string.concat(what, ": owner"));
        vm.assertEq(registry.resolver(node), resolver_, string.concat(what, ": resolver"));
        vm.assertTrue(registry.recordExists(node) == (owner != address(0)), what);
        vm.assertTrue((registry.expiry(node) != 0) == (owner != address(0)), what);
    }
}
