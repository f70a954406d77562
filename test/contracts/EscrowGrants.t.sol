// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowTest} from "./support/EscrowTest.sol";

/// @title Approve, revoke and reclaim: what a payer may do, and when
contract EscrowGrantsTest is EscrowTest {
    // ----------------------------------------------------------------- approve

    function test_TheShortFormTakesThePriceFirst() public {
        fund(payer, 100);
        vm.expectEmit(address(escrow));
        emit IEscrow.Approved(
            payer,
            provider,
            METERED,
            5,
            60,
            uint32(NOW + 365 days),
            48,
            0,
            0,
            0,
            40
        );
        vm.prank(payer);
        escrow.approve(provider, 5, 60);

        (uint256 pricePerRequest, uint256 budget) = escrow.allowance(payer, provider);
        assertEq(pricePerRequest, 5, "price");
        assertEq(budget, 60, "budget");
        assertEq(escrow.balanceOf(payer), 40, "the rest is free");
        assertEq(escrow.totalHeld(), 100, "nothing left");
    }

    function testFuzz_TheLongFormKeepsEveryTermInItsOwnGrant(
        uint40 price,
        uint64 budget,
        uint32 expiry,
        uint8 notice,
        address signer
    ) public {
        vm.assume(price != 0 && notice != 0 && budget != 0 && expiry > NOW);
        fund(payer, budget);
        IEscrow.Terms memory terms = IEscrow.Terms(
            provider,
            signer,
            price,
            budget,
            expiry,
            notice
        );
        vm.prank(payer);
        escrow.approve(terms);

        IEscrow.Grant memory grant = escrow.grantOf(payer, provider, signer);
        assertEq(grant.price, price, "price");
        assertEq(grant.budget, budget, "budget");
        assertEq(grant.expiry, expiry, "expiry");
        assertEq(grant.notice, notice, "notice");
        assertEq(grant.spent + grant.calls + grant.flags + grant.epoch, 0, "the rest");
        assertEq(
            escrow.grantOf(payer, provider, account("another signer")).expiry,
            0,
            "another signer"
        );
        assertEq(escrow.grantOf(provider, payer, signer).expiry, 0, "the other way round");
    }

    function test_ApprovingAgainSetsWhatIsLeftAndTakesOnlyTheDifference() public {
        grantTo(payer, 10, 100);
        settle(row(payer, 40, 4));
        fund(payer, 50);
        vm.prank(payer);
        escrow.approve(provider, 10, 90);
        assertEq(grantOf(payer).budget, 90, "left");
        assertEq(escrow.balanceOf(payer), 20, "30 were missing");
        vm.prank(payer);
        escrow.approve(provider, 10, 90);
        assertEq(escrow.balanceOf(payer), 20, "the same again takes nothing");
    }

    function test_AnOpenGrantCanBeImprovedAtOnceInEveryTerm() public {
        grantTo(payer, 10, 100);
        fund(payer, 1);
        vm.prank(payer);
        escrow.approve(termsOf(11, 101, NOW + 365 days + 1, 49));
        IEscrow.Grant memory grant = grantOf(payer);
        assertEq(grant.price, 11, "price");
        assertEq(grant.budget, 101, "budget");
        assertEq(grant.expiry, NOW + 365 days + 1, "expiry");
        assertEq(grant.notice, 49, "notice");
    }

    function test_TheShortFormKeepsBetterTerms() public {
        fund(payer, 100);
        vm.startPrank(payer);
        escrow.approve(termsOf(10, 50, NOW + 400 days, 200));
        escrow.approve(provider, 10, 100);
        assertEq(grantOf(payer).expiry, NOW + 400 days, "expiry");
        assertEq(grantOf(payer).notice, 200, "notice");
    }

    function test_NoTermOfAnOpenGrantCanBeCut() public {
        grantTo(payer, 10, 100);
        fund(payer, 1_000);
        uint256 end = NOW + 365 days;
        _expectCut(termsOf(9, 100, end, 48));
        _expectCut(termsOf(10, 99, end, 48));
        _expectCut(termsOf(10, 100, end - 1, 48));
        _expectCut(termsOf(10, 100, end, 47));
        _expectCut(termsOf(9, 1_000, end + 1, 49));

        // Nor when it has ended, as long as the payer has not reclaimed it.
        vm.warp(end + NOTICE + 1);
        _expectCut(termsOf(9, 100, end + 100 days, 48));
        _expectCut(termsOf(10, 100, end + 100 days, 47));
    }

    function _expectCut(IEscrow.Terms memory terms) private {
        IEscrow.Grant memory current = grantOf(payer);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.TermsCut.selector, current));
        vm.prank(payer);
        escrow.approve(terms);
    }

    function test_ApprovingNeedsTheMoney() public {
        fund(payer, 100);
        vm.startPrank(payer);
        expectRevert(IEscrow.BalanceTooLow.selector, 100, 101);
        escrow.approve(provider, 10, 101);
        escrow.approve(provider, 10, 100);
        expectRevert(IEscrow.BalanceTooLow.selector, 0, 1);
        escrow.approve(provider, 10, 101);
    }

    function test_TermsThatMakeNoSenseAreRefused() public {
        fund(payer, 100);
        IEscrow.Terms memory noProvider = termsOf(10, 10, NOW + 1, 1);
        noProvider.provider = address(0);
        vm.startPrank(payer);
        expectRevert(IEscrow.ProviderZero.selector);
        escrow.approve(noProvider);
        expectRevert(IEscrow.PriceZero.selector);
        escrow.approve(termsOf(0, 10, NOW + 1, 1));
        expectRevert(IEscrow.ExpiryPassed.selector, NOW);
        escrow.approve(termsOf(10, 10, NOW, 1));
        expectRevert(IEscrow.NoticeZero.selector);
        escrow.approve(termsOf(10, 10, NOW + 1, 0));
    }

    function test_TheShortFormRefusesWhatDoesNotFit() public {
        uint256 priceMax = type(uint40).max;
        uint256 budgetMax = type(uint64).max;
        expectRevert(IEscrow.OutOfRange.selector, priceMax + 1, priceMax);
        escrow.approve(provider, priceMax + 1, 0);
        expectRevert(IEscrow.OutOfRange.selector, budgetMax + 1, budgetMax);
        escrow.approve(provider, priceMax, budgetMax + 1);
        vm.warp(type(uint32).max);
        uint256 expiry = uint256(type(uint32).max) + 365 days;
        expectRevert(IEscrow.OutOfRange.selector, expiry, type(uint32).max);
        escrow.approve(provider, 1, 0);
    }

    // ------------------------------------------------------------------ revoke

    function test_RevokingStartsTheNoticeAndKeepsTheRest() public {
        grantTo(payer, 10, 100);
        vm.warp(NOW + 5);
        vm.expectEmit(address(escrow));
        emit IEscrow.Revoked(payer, provider, METERED, uint32(NOW + 5));
        vm.prank(payer);
        escrow.revoke(provider);
        assertEq(grantOf(payer).expiry, NOW + 5, "ended now");
        assertEq(grantOf(payer).budget, 100, "still reserved");
        assertEq(grantOf(payer).price, 10, "at the same price");
    }

    function test_WhatHasEndedCannotEndAgain() public {
        grantTo(payer, 10, 100);
        vm.startPrank(payer);
        escrow.revoke(provider);
        expectRevert(IEscrow.GrantEnded.selector, NOW);
        escrow.revoke(provider);
        vm.warp(NOW + 1 days);
        expectRevert(IEscrow.GrantEnded.selector, NOW);
        escrow.revoke(provider, METERED);
    }

    function test_ARevokedGrantMayBeTakenUpAgain() public {
        grantTo(payer, 10, 100);
        vm.startPrank(payer);
        escrow.revoke(provider);
        escrow.approve(provider, 10, 100);
        assertEq(grantOf(payer).expiry, NOW + 365 days, "as new");
        assertEq(grantOf(payer).epoch, 0, "the same epoch");
    }

    function test_OnlyAnOpenGrantCanBeLeft() public {
        vm.startPrank(payer);
        _expectGrantMissing(METERED);
        escrow.revoke(provider);
        _expectGrantMissing(session);
        escrow.revoke(provider, session);
        _expectGrantMissing(METERED);
        escrow.reclaim(provider);
        _expectGrantMissing(session);
        escrow.reclaim(provider, session);
    }

    function _expectGrantMissing(address signer) private {
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.GrantMissing.selector, payer, provider, signer)
        );
    }

    // ----------------------------------------------------------------- reclaim

    function test_ReclaimingReturnsTheRestAfterTheNoticeAndNotASecondBefore() public {
        grantTo(payer, 10, 100);
        settle(row(payer, 30, 3));
        vm.startPrank(payer);
        escrow.revoke(provider);

        vm.warp(NOW + NOTICE - 1);
        expectRevert(IEscrow.NoticeRunning.selector, NOW + NOTICE);
        escrow.reclaim(provider);

        vm.warp(NOW + NOTICE);
        vm.expectEmit(address(escrow));
        emit IEscrow.Reclaimed(payer, provider, METERED, 70, 1, 70);
        escrow.reclaim(provider);
        IEscrow.Grant memory grant = grantOf(payer);
        assertEq(escrow.balanceOf(payer), 70, "free again");
        assertEq(grant.spent, 30, "spent is for ever");
        assertEq(grant.calls, 3, "calls are for ever");
        assertEq(grant.epoch, 1, "the next epoch");
        assertEq(grant.budget + grant.price + grant.expiry + grant.notice, 0, "closed");
        _expectGrantMissing(METERED);
        escrow.reclaim(provider);
    }

    function testFuzz_TheNoticeRunsFromExpiryOrRevocationWhicheverIsFirst(
        uint32 life,
        uint8 notice,
        uint32 revokedAfter
    ) public {
        uint256 lifeSeconds = bound(life, 1, 1_000 days);
        uint256 noticeHours = bound(notice, 1, 255);
        uint256 revoked = bound(revokedAfter, 0, 2_000 days);
        fund(payer, 100);
        vm.startPrank(payer);
        escrow.approve(termsOf(10, 100, NOW + lifeSeconds, noticeHours));
        uint256 end = NOW + lifeSeconds;
        if (revoked < lifeSeconds) {
            end = NOW + revoked;
            vm.warp(end);
            escrow.revoke(provider);
        }
        vm.warp(end + noticeHours * 1 hours - 1);
        expectRevert(IEscrow.NoticeRunning.selector, end + noticeHours * 1 hours);
        escrow.reclaim(provider);
        vm.warp(end + noticeHours * 1 hours);
        escrow.reclaim(provider);
        assertEq(escrow.balanceOf(payer), 100, "free again");
    }

    function test_AReclaimedGrantStartsAgainWithAnyTerms() public {
        _reclaimOnce(10);
        vm.prank(payer);
        escrow.approve(termsOf(1, 1, block.timestamp + 1, 1));
        assertEq(grantOf(payer).price, 1, "a lower price");
        assertEq(grantOf(payer).epoch, 1, "in the next epoch");
    }

    function _reclaimOnce(uint256 price) private {
        grantTo(payer, price, 100);
        vm.startPrank(payer);
        escrow.revoke(provider);
        vm.warp(block.timestamp + NOTICE);
        escrow.reclaim(provider);
        vm.stopPrank();
    }

    function test_TheLastEpochIsNeverOpened() public {
        for (uint256 epoch = 0; epoch < 255; ++epoch) {
            assertEq(grantOf(payer).epoch, epoch, "epoch");
            _reclaimOnce(10);
        }
        assertEq(grantOf(payer).epoch, 255, "the last");
        vm.startPrank(payer);
        expectRevert(IEscrow.EpochsExhausted.selector);
        escrow.approve(provider, 10, 100);
        escrow.withdraw(25_500);
        assertEq(usdc.balanceOf(payer), 25_500, "all came back");
    }

    function test_GrantsOfOtherSignersAreLeftAlone() public {
        fund(payer, 300);
        IEscrow.Terms memory terms = termsOf(10, 100, NOW + 1 days, 1);
        terms.signer = session;
        vm.startPrank(payer);
        escrow.approve(terms);
        escrow.approve(provider, 10, 100);
        escrow.revoke(provider, session);
        vm.warp(NOW + 1 hours);
        escrow.reclaim(provider, session);
        assertEq(grantOf(payer).expiry, NOW + 365 days, "not revoked");
        assertEq(grantOf(payer).budget, 100, "not reclaimed");
        assertEq(escrow.balanceOf(payer), 200, "free");
    }

    // ----------------------------------------------------------------- storage

    function test_AGrantAndAnAccountAreOneSlotEachAndLieWhereTheyAlwaysWill() public {
        fund(payer, 1_000);
        vm.prank(payer);
        escrow.approve(termsOf(7, 600, NOW + 9 days, 33));
        settle(row(payer, 70, 10));

        bytes32 accountSlot = keccak256(abi.encode(payer, uint256(2)));
        assertEq(uint256(vm.load(address(escrow), accountSlot)), 400, "account");

        bytes32 place = keccak256(abi.encode(provider, uint256(3)));
        place = keccak256(abi.encode(METERED, place));
        place = keccak256(abi.encode(payer, place));
        uint256 word = uint256(vm.load(address(escrow), place));
        assertEq(word & type(uint64).max, 70, "spent");
        assertEq((word >> 64) & type(uint64).max, 530, "budget");
        assertEq((word >> 128) & type(uint40).max, 7, "price");
        assertEq((word >> 168) & type(uint32).max, 10, "calls");
        assertEq((word >> 200) & type(uint32).max, NOW + 9 days, "expiry");
        assertEq((word >> 232) & 0xff, 33, "notice");
        assertEq(word >> 240, 0, "flags and epoch");
        assertEq(uint256(vm.load(address(escrow), bytes32(uint256(4)))), 1_000, "held");
    }
}
