// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Registry} from "../../contracts/Registry.sol";
import {IRegistry} from "../../contracts/interfaces/IRegistry.sol";
import {Test} from "./support/Test.sol";

contract RegistryTest is Test {
    Registry private registry = new Registry();
    address private alice = account("alice");
    address private mallory = account("mallory");
    address private resolver = account("resolver");

    function testFuzz_AFreeNameBelongsToWhoRegistersIt(bytes32 node, bytes32 another) public {
        vm.assume(node != 0 && another != node);
        _register(node);
        vm.assertEq(registry.owner(node), alice, "owner");
        vm.assertEq(registry.resolver(node), resolver, "resolver");
        vm.assertEq(registry.owner(another), address(0), "another owner");
        vm.assertEq(registry.resolver(another), address(0), "another resolver");
    }

    function _register(bytes32 node) private {
        vm.expectEmit(address(registry));
        emit IRegistry.Transfer(node, alice);
        vm.expectEmit(address(registry));
        emit IRegistry.NewResolver(node, resolver);
        vm.expectEmit(address(registry));
        emit IRegistry.Registered(node, alice, resolver);
        vm.prank(alice);
        registry.register(node, resolver);
    }

    function test_ATakenNameCannotBeTaken() public {
        _register("node");
        bytes memory taken = abi.encodeWithSelector(
            IRegistry.NodeTaken.selector,
            bytes32("node"),
            alice
        );
        vm.expectRevert(taken);
        vm.prank(mallory);
        registry.register("node", mallory);
        vm.expectRevert(taken);
        vm.prank(alice);
        registry.register("node", resolver);
    }

    function test_ARootAndAnEmptyResolverAreRefused() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NodeZero.selector));
        registry.register(0, resolver);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.ResolverZero.selector));
        registry.register("node", address(0));
        _register("node");
        vm.expectRevert(abi.encodeWithSelector(IRegistry.ResolverZero.selector));
        vm.prank(alice);
        registry.setResolver("node", address(0));
    }

    function test_OnlyTheOwnerChangesAName() public {
        _expectNotOwner(address(0), mallory);
        registry.setResolver("node", mallory);
        _expectNotOwner(address(0), mallory);
        registry.unregister("node");
        _register("node");
        _expectNotOwner(alice, mallory);
        registry.setResolver("node", mallory);
        _expectNotOwner(alice, mallory);
        registry.unregister("node");

        vm.expectEmit(address(registry));
        emit IRegistry.NewResolver("node", mallory);
        vm.prank(alice);
        registry.setResolver("node", mallory);
        vm.assertEq(registry.resolver("node"), mallory, "as its owner wished");
        vm.assertEq(registry.owner("node"), alice, "still its owner");
    }

    function _expectNotOwner(address owner, address caller) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                IRegistry.NotNodeOwner.selector,
                bytes32("node"),
                owner,
                caller
            )
        );
        vm.prank(caller);
    }

    function test_ANameThatWasGivenBackIsFree() public {
        _register("node");
        vm.expectEmit(address(registry));
        emit IRegistry.NewResolver("node", address(0));
        vm.expectEmit(address(registry));
        emit IRegistry.Transfer("node", address(0));
        vm.expectEmit(address(registry));
        emit IRegistry.Unregistered("node", alice);
        vm.prank(alice);
        registry.unregister("node");
        vm.assertEq(registry.owner("node"), address(0), "owner");
        vm.assertEq(registry.resolver("node"), address(0), "resolver");

        vm.prank(mallory);
        registry.register("node", resolver);
        vm.assertEq(registry.owner("node"), mallory, "the next owner");
        _expectNotOwner(mallory, alice);
        registry.setResolver("node", resolver);
    }
}
