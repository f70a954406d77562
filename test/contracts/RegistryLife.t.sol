// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEnsRegistry} from "../../contracts/interfaces/IEnsRegistry.sol";
import {IRegistry} from "../../contracts/interfaces/IRegistry.sol";
import {RegistryTest} from "./support/RegistryTest.sol";

/// @title A name's life: who may change it, expiry, grace, lapse, quarantine, the next owner
contract RegistryLifeTest is RegistryTest {
    address private bob = account("bob");
    address private other = account("other resolver");

    function setUp() public override {
        super.setUp();
        take(LABEL, alice);
    }

    // ------------------------------------------------------------- who may what

    function test_OnlyTheOwnerOrAnOperatorChangesWhereANamePoints() public {
        expectNotOwner(alice, mallory);
        registry.setResolver(node, other);
        expectNotOwner(alice, mallory);
        registry.setTTL(node, 60);
        expectNotOwner(alice, mallory);
        registry.renew(node, DURATION);

        vm.prank(alice);
        vm.expectEmit(address(registry));
        emit IEnsRegistry.ApprovalForAll(alice, operator, true);
        registry.setApprovalForAll(operator, true);
        vm.assertTrue(registry.isApprovedForAll(alice, operator), "approved");
        vm.startPrank(operator);
        vm.expectEmit(address(registry));
        emit IEnsRegistry.NewResolver(node, other);
        registry.setResolver(node, other);
        assertOwner(alice, other, "as the operator wished");
        vm.expectEmit(address(registry));
        emit IEnsRegistry.NewTTL(node, 60);
        registry.setTTL(node, 60);
        assertEq(registry.ttl(node), 60, "ttl");
        registry.renew(node, DURATION);
        vm.stopPrank();

        vm.prank(alice);
        registry.setApprovalForAll(operator, false);
        vm.assertTrue(!registry.isApprovedForAll(alice, operator), "no more");
        expectNotOwner(alice, operator);
        registry.setResolver(node, resolver);
    }

    function test_AnOperatorReachesNeitherTheNameNorItsBond() public {
        vm.prank(alice);
        registry.setApprovalForAll(operator, true);
        expectNotOwner(alice, operator);
        registry.setOwner(node, operator);
        expectNotOwner(alice, operator);
        registry.unregister(node);
    }

    function test_ANameIsGivenAwayWithItsBondAndWithoutItsOperators() public {
        vm.startPrank(alice);
        registry.setApprovalForAll(operator, true);
        expectRevert(abi.encodeWithSelector(IRegistry.OwnerZero.selector));
        registry.setOwner(node, address(0));
        vm.expectEmit(address(registry));
        emit IEnsRegistry.Transfer(node, bob);
        registry.setOwner(node, bob);
        vm.stopPrank();
        assertOwner(bob, resolver, "given away");
        expectNotOwner(bob, alice);
        registry.setResolver(node, other);
        expectNotOwner(bob, operator);
        registry.setResolver(node, other);
        expectNotOwner(bob, alice);
        registry.unregister(node);
        vm.prank(bob);
        registry.unregister(node);
        assertEq(usdc.balanceOf(bob), BOND, "the bond went with it");
    }

    function test_AResolverOfZeroIsRefused() public {
        expectRevert(abi.encodeWithSelector(IRegistry.ResolverZero.selector));
        vm.prank(alice);
        registry.setResolver(node, address(0));
    }

    function test_NobodyChangesANameThatNobodyHas() public {
        node = nodeOf("nobody");
        assertOwner(address(0), address(0), "nobody's");
        assertEq(registry.freeFrom(node), 0, "free");
        expectNotOwner(address(0), mallory);
        registry.setResolver(node, other);
        expectNotOwner(address(0), mallory);
        registry.setOwner(node, mallory);
        expectNotOwner(address(0), mallory);
        registry.setTTL(node, 1);
        expectNotOwner(address(0), mallory);
        registry.renew(node, DURATION);
        expectNotOwner(address(0), mallory);
        registry.unregister(node);
    }

    // --------------------------------------------------------------------- time

    function test_AnExpiredNameResolvesForThirtyDaysAndCanOnlyBeRenewed() public {
        uint256 expiry = registry.expiry(node);
        vm.warp(expiry - 1);
        vm.prank(alice);
        registry.setTTL(node, 5);

        vm.warp(expiry);
        _assertFrozen(expiry);
        vm.warp(expiry + GRACE - 1);
        _assertFrozen(expiry);

        vm.prank(alice);
        registry.renew(node, 28 days);
        assertEq(registry.expiry(node), block.timestamp + 28 days, "from now, not from then");
        vm.prank(alice);
        registry.setResolver(node, other);
        assertOwner(alice, other, "as before");
        assertEq(registry.version(node), 1, "the same registration");
    }

    function _assertFrozen(uint256 expiry) private {
        assertOwner(alice, resolver, "in grace");
        assertEq(registry.ttl(node), 5, "in grace: ttl");
        bytes memory expired = abi.encodeWithSelector(
            IRegistry.NodeExpired.selector,
            node,
            expiry
        );
        vm.startPrank(alice);
        expectRevert(expired);
        registry.setResolver(node, other);
        expectRevert(expired);
        registry.setOwner(node, bob);
        expectRevert(expired);
        registry.setTTL(node, 1);
        vm.stopPrank();
    }

    function test_ANameThatLapsedIsNobodysAndThenAnybodys() public {
        vm.prank(alice);
        registry.setTTL(node, 5);
        uint256 lapse = registry.expiry(node) + GRACE;
        vm.warp(lapse);
        assertOwner(address(0), address(0), "lapsed");
        assertEq(registry.ttl(node), 0, "lapsed: ttl");
        assertEq(registry.freeFrom(node), lapse + QUARANTINE, "free from");
        expectNotOwner(address(0), alice);
        registry.renew(node, DURATION);
        expectNotOwner(address(0), alice);
        registry.setResolver(node, other);

        vm.warp(lapse + QUARANTINE - 61);
        prepare(LABEL, bob);
        expectRevert(
            abi.encodeWithSelector(
                IRegistry.NodeInQuarantine.selector,
                node,
                lapse + QUARANTINE
            )
        );
        reveal(LABEL, bob);
        vm.warp(lapse + QUARANTINE);
        vm.expectEmit(address(registry));
        emit IRegistry.RefundDue(alice, BOND);
        reveal(LABEL, bob);
        assertOwner(bob, resolver, "the next owner");
        assertEq(registry.version(node), 2, "another registration");
        assertEq(registry.ttl(node), 0, "with its own ttl");
    }

    function test_ANameThatWasGivenBackRestsForAWeek() public {
        vm.startPrank(alice);
        registry.setTTL(node, 5);
        vm.expectEmit(address(registry));
        emit IEnsRegistry.NewResolver(node, address(0));
        vm.expectEmit(address(registry));
        emit IEnsRegistry.Transfer(node, address(0));
        vm.expectEmit(address(registry));
        emit IRegistry.Unregistered(node, alice);
        registry.unregister(node);
        vm.stopPrank();
        assertOwner(address(0), address(0), "given back");
        assertEq(registry.ttl(node), 0, "ttl");
        assertEq(usdc.balanceOf(alice), BOND, "the bond is back");
        assertEq(registry.version(node), 1, "version");
        uint256 free = block.timestamp + QUARANTINE;
        assertEq(registry.freeFrom(node), free, "free from");
        expectNotOwner(address(0), alice);
        registry.unregister(node);

        vm.warp(free - 61);
        prepare(LABEL, bob);
        bytes memory resting = abi.encodeWithSelector(
            IRegistry.NodeInQuarantine.selector,
            node,
            free
        );
        expectRevert(resting);
        reveal(LABEL, bob);
        vm.warp(free);
        reveal(LABEL, bob);
        assertOwner(bob, resolver, "the next owner");
        assertEq(registry.version(node), 2, "version");
        assertEq(registry.refundOf(alice), 0, "nothing is due twice");
    }

    function test_GivingBackInGraceStartsTheWeekThenAndAfterALapseNotAnew() public {
        uint256 expiry = registry.expiry(node);
        take("second", alice);
        vm.warp(expiry + 1 days);
        vm.prank(alice);
        registry.unregister(node);
        assertEq(registry.freeFrom(node), block.timestamp + QUARANTINE, "in grace");

        bytes32 second = nodeOf("second");
        uint256 free = registry.freeFrom(second);
        vm.warp(free - 1 days);
        vm.prank(alice);
        registry.unregister(second);
        assertEq(registry.freeFrom(second), free, "after the lapse");
        assertEq(usdc.balanceOf(alice), 2 * BOND, "both bonds");
    }
}
