// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IRegistry} from "../../contracts/interfaces/IRegistry.sol";
import {newRegistry} from "./support/Published.sol";
import {RegistryTest} from "./support/RegistryTest.sol";

/// @title The bond: in with a name, out with it, and nobody else's business
contract RegistryBondTest is RegistryTest {
    address private bob = account("bob");

    function test_TheTokenMustBeAContract() public {
        expectRevert(abi.encodeWithSelector(IRegistry.TokenMissing.selector, alice));
        newRegistry(IERC20(alice), BOND);
    }

    function test_ItSaysWhatTheBondIs() public view {
        vm.assertEq(address(registry.bondToken()), address(usdc), "token");
        assertEq(registry.bond(), BOND, "bond");
    }

    function test_WithoutABondThereIsNoName() public {
        prepare(LABEL, alice);
        vm.prank(alice);
        usdc.approve(address(registry), BOND - 1);
        vm.expectPartialRevert(
            bytes4(keccak256("ERC20InsufficientAllowance(address,uint256,uint256)"))
        );
        reveal(LABEL, alice);
        assertOwner(address(0), address(0), "nobody's");
        vm.prank(alice);
        usdc.approve(address(registry), BOND);
        reveal(LABEL, alice);
        assertOwner(alice, resolver, "the commitment was not used up");
    }

    function test_TheBondOfALapsedNameWaitsForItsLastOwner() public {
        take(LABEL, alice);
        vm.warp(registry.freeFrom(node));
        take(LABEL, bob);
        assertEq(registry.refundOf(alice), BOND, "due");
        expectNotOwner(bob, alice);
        registry.unregister(node);

        vm.prank(alice);
        vm.expectEmit(address(registry));
        emit IRegistry.RefundWithdrawn(alice, BOND);
        registry.withdrawRefund();
        assertEq(usdc.balanceOf(alice), BOND, "back");
        assertEq(registry.refundOf(alice), 0, "nothing is left");
        assertEq(usdc.balanceOf(address(registry)), BOND, "the next owner's is here");
        expectRevert(abi.encodeWithSelector(IRegistry.RefundZero.selector));
        vm.prank(alice);
        registry.withdrawRefund();
    }

    function test_RefundsOfSeveralNamesAddUp() public {
        take("one", alice);
        take("two", alice);
        vm.warp(registry.freeFrom(nodeOf("two")));
        take("one", bob);
        take("two", bob);
        vm.prank(alice);
        registry.withdrawRefund();
        assertEq(usdc.balanceOf(alice), 2 * BOND, "both");
    }

    function test_ANameThatNobodyHadOwesNobodyABond() public {
        take(LABEL, alice);
        assertEq(registry.refundOf(address(0)), 0, "the first owner");
        vm.prank(alice);
        registry.unregister(node);
        vm.warp(registry.freeFrom(node));
        take(LABEL, alice);
        assertEq(registry.refundOf(address(0)), 0, "after it was given back");
        assertEq(registry.refundOf(alice), 0, "which paid the bond");
    }

    function test_NobodyElseTakesARefund() public {
        take(LABEL, alice);
        vm.warp(registry.freeFrom(node));
        take(LABEL, bob);
        expectRevert(abi.encodeWithSelector(IRegistry.RefundZero.selector));
        vm.prank(mallory);
        registry.withdrawRefund();
    }

    function test_ARegistryMayTakeNoBond() public {
        registry = newRegistry(usdc, 0);
        registry.commit(commitmentOf(LABEL, alice));
        vm.warp(block.timestamp + 60);
        reveal(LABEL, alice);
        vm.prank(alice);
        registry.unregister(node);
        assertOwner(address(0), address(0), "given back");
    }
}
