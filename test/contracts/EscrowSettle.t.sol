// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowTest} from "./support/EscrowTest.sol";

/// @title Consume and settle: what a provider may collect, and what a bad row cannot do
contract EscrowSettleTest is EscrowTest {
    address private other = account("another payer");

    // ----------------------------------------------------------------- consume

    function test_ConsumingCollectsForOneCall() public {
        grantTo(payer, 10, 100);
        vm.expectEmit(address(escrow));
        emit IEscrow.Consumed(payer, provider, usage(7, 93, 7, 1), 7);
        vm.prank(provider);
        escrow.consume(payer, 7);
        assertGrant(payer, 7, 93, 1, "consumed");
        assertEq(escrow.balanceOf(provider), 7, "collected");

        vm.prank(provider);
        escrow.consume(payer, 10);
        assertGrant(payer, 17, 83, 2, "consumed again");
        assertEq(escrow.balanceOf(provider), 17, "collected again");
    }

    function test_ConsumingIsBoundByPriceBudgetAndGrant() public {
        grantTo(payer, 10, 15);
        vm.startPrank(provider);
        expectRevert(IEscrow.PriceZero.selector);
        escrow.consume(payer, 0);
        expectRevert(IEscrow.PriceAboveCap.selector, 11, 10);
        escrow.consume(payer, 11);
        expectRevert(IEscrow.PriceAboveCap.selector, type(uint256).max, 10);
        escrow.consume(payer, type(uint256).max);
        escrow.consume(payer, 10);
        expectRevert(IEscrow.BudgetTooLow.selector, 5, 6);
        escrow.consume(payer, 6);
        escrow.consume(payer, 5);
        vm.stopPrank();

        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.GrantMissing.selector, payer, stranger, METERED)
        );
        vm.prank(stranger);
        escrow.consume(payer, 1);
    }

    function test_MeteredUseNeverTouchesAGrantThatSomebodySigns() public {
        fund(payer, 100);
        IEscrow.Terms memory terms = termsOf(10, 100, NOW + 1 days, 1);
        terms.signer = session;
        vm.prank(payer);
        escrow.approve(terms);

        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.GrantMissing.selector, payer, provider, METERED)
        );
        vm.prank(provider);
        escrow.consume(payer, 1);
        _expectSkipped(payer, 0, IEscrow.SkipReason.GrantMissing);
        settle(row(payer, 10, 1));
        assertEq(escrow.grantOf(payer, provider, session).budget, 100, "untouched");
    }

    // ------------------------------------------------------------------ settle

    function test_ABatchPaysEachRowAndTellsAllOfIt() public {
        grantTo(payer, 10, 100);
        grantTo(other, 20, 200);
        vm.expectEmit(address(escrow));
        emit IEscrow.Settled(payer, provider, usage(30, 70, 30, 4));
        vm.expectEmit(address(escrow));
        emit IEscrow.Settled(other, provider, usage(200, 0, 200, 10));
        vm.expectEmit(address(escrow));
        emit IEscrow.BatchSettled(provider, 230, 230, bytes32("root"));
        settle(bytes.concat(row(payer, 30, 4), row(other, 200, 10)));
        assertGrant(payer, 30, 70, 4, "payer");
        assertGrant(other, 200, 0, 10, "other");
        assertEq(escrow.balanceOf(provider), 230, "provider");
        assertEq(escrow.totalHeld(), 300, "held");
    }

    function test_OnlyTheProviderOfAGrantCollects() public {
        grantTo(payer, 10, 100);
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(payer, stranger, 0, IEscrow.SkipReason.GrantMissing);
        vm.prank(stranger);
        escrow.settle(row(payer, 10, 1), 0);
        assertEq(escrow.balanceOf(stranger), 0, "nothing");
    }

    function test_RowsHave32BytesAndThereIsOne() public {
        for (uint256 length = 0; length < 100; ++length) {
            if (length % 32 == 0 && length != 0) continue;
            expectRevert(IEscrow.RowsMalformed.selector, length);
            settle(new bytes(length));
        }
    }

    function test_EachBadRowSaysWhyItWasSkippedAndTheOthersArePaid() public {
        grantTo(payer, 10, 25);
        grantTo(other, 10, 100);
        settle(row(payer, 20, 2));

        _expectSkipped(stranger, 0, IEscrow.SkipReason.GrantMissing);
        _expectSkipped(payer, 1, IEscrow.SkipReason.NothingDue);
        _expectSkipped(payer, 2, IEscrow.SkipReason.NothingDue);
        _expectSkipped(payer, 3, IEscrow.SkipReason.PriceAboveCap);
        _expectSkipped(payer, 4, IEscrow.SkipReason.PriceAboveCap);
        _expectSkipped(payer, 5, IEscrow.SkipReason.PriceAboveCap);
        _expectSkipped(payer, 6, IEscrow.SkipReason.BudgetTooLow);
        vm.expectEmit(address(escrow));
        emit IEscrow.Settled(other, provider, usage(50, 50, 50, 5));
        vm.expectEmit(address(escrow));
        emit IEscrow.BatchSettled(provider, 50, 70, bytes32("root"));
        settle(
            bytes.concat(
                row(stranger, 10, 1),
                row(payer, 20, 2),
                row(payer, 19, 9),
                row(payer, 31, 3),
                row(payer, 21, 2),
                row(payer, 21, 1),
                row(payer, 30, 3),
                row(other, 50, 5)
            )
        );
        assertGrant(payer, 20, 5, 2, "skipped");
    }

    function _expectSkipped(address who, uint256 index, IEscrow.SkipReason reason) private {
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(who, provider, index, reason);
    }

    function test_AGrantPaysUntilItIsReclaimedAtItsPriceOfThen() public {
        grantTo(payer, 10, 100);
        vm.prank(payer);
        escrow.revoke(provider);
        vm.warp(NOW + NOTICE - 1);
        settle(row(payer, 10, 1));
        assertGrant(payer, 10, 90, 1, "within the notice");
        vm.warp(NOW + NOTICE + 10 days);
        settle(row(payer, 20, 2));
        assertGrant(payer, 20, 80, 2, "until it is reclaimed");
        vm.prank(payer);
        escrow.reclaim(provider);
        _expectSkipped(payer, 0, IEscrow.SkipReason.GrantMissing);
        settle(row(payer, 30, 3));
        assertGrant(payer, 20, 0, 2, "not after");
        vm.prank(provider);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.GrantMissing.selector, payer, provider, METERED)
        );
        escrow.consume(payer, 1);
    }

    function test_SpentAndCallsGoOnInTheNextEpoch() public {
        grantTo(payer, 10, 100);
        settle(row(payer, 30, 3));
        vm.startPrank(payer);
        escrow.revoke(provider);
        vm.warp(NOW + NOTICE);
        escrow.reclaim(provider);
        escrow.approve(provider, 10, 70);
        vm.stopPrank();
        settle(row(payer, 30, 3));
        assertGrant(payer, 30, 70, 3, "a row of the old epoch pays nothing");
        settle(row(payer, 50, 5));
        assertGrant(payer, 50, 50, 5, "a new one pays what is new");
    }

    function test_TheNumbersOfAGrantReachTheirBoundsWithoutTouchingTheirNeighbours() public {
        uint256 amountMax = type(uint64).max;
        fund(payer, amountMax);
        IEscrow.Terms memory terms = termsOf(
            type(uint40).max,
            amountMax,
            type(uint32).max,
            255
        );
        vm.prank(payer);
        escrow.approve(terms);
        settle(row(payer, amountMax, type(uint32).max));
        IEscrow.Grant memory grant = grantOf(payer);
        assertEq(grant.spent, amountMax, "spent");
        assertEq(grant.budget, 0, "budget");
        assertEq(grant.price, type(uint40).max, "price");
        assertEq(grant.calls, type(uint32).max, "calls");
        assertEq(grant.expiry, type(uint32).max, "expiry");
        assertEq(grant.notice, 255, "notice");
        assertEq(grant.flags + grant.epoch, 0, "flags and epoch");
        assertEq(escrow.balanceOf(provider), amountMax, "all of it");

        // All of it comes back to the payer's grant; its counters are full and stay where they are.
        vm.startPrank(provider);
        escrow.withdraw(amountMax);
        usdc.transfer(payer, 1);
        vm.stopPrank();
        vm.startPrank(payer);
        usdc.approve(address(escrow), 1);
        escrow.deposit(1);
        terms.budget = 1;
        escrow.approve(terms);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        vm.prank(provider);
        escrow.consume(payer, 1);
    }

    // ----------------------------------------------------- paid in part (I-5, I-6)

    function test_ATightBudgetPaysInPartAndTheRestAfterATopUp() public {
        grantTo(payer, 10, 25);
        settle(row(payer, 100, 10));
        assertGrant(payer, 20, 5, 2, "whole calls only: 5 more would leave 75 for 7 calls");
        settle(row(payer, 100, 10));
        assertGrant(payer, 20, 5, 2, "the same again");
        fund(payer, 75);
        vm.prank(payer);
        escrow.approve(provider, 10, 80);
        settle(row(payer, 100, 10));
        assertGrant(payer, 100, 0, 10, "all of it");
    }

    function test_CallsBelowThePriceTakeTheWholeBudget() public {
        grantTo(payer, 10, 25);
        settle(row(payer, 40, 10));
        assertGrant(payer, 25, 0, 3, "25 paid as for 3 calls; 15 are left for 7");
    }

    /// @dev Seven calls are left for 70: exactly their price.
    function test_TheWholeBudgetIsTakenWhereTheRestIsExactlyThePriceOfTheCallsThatAreLeft()
        public
    {
        grantTo(payer, 10, 25);
        settle(row(payer, 95, 10));
        assertGrant(payer, 25, 0, 3, "25 paid as for 3 calls");
    }

    /// @dev The rule by trying: the most that the budget covers, such that the rest stays within
    /// the price of the calls that are left.
    function testFuzz_APartialPaymentIsTheMostThatLeavesTheRestCollectable(
        uint256 price_,
        uint256 calls_,
        uint256 due_,
        uint256 budget_
    ) public {
        uint256 price = bound(price_, 1, 60);
        uint256 calls = bound(calls_, 1, 30);
        uint256 due = bound(due_, 1, price * calls);
        uint256 budget = bound(budget_, 0, due + 5);
        grantTo(payer, price, budget);

        uint256 paid = due < budget ? due : budget;
        uint256 paidCalls = calls;
        if (paid < due) {
            for (; ; --paid) {
                paidCalls = (paid + price - 1) / price;
                if (due - paid <= price * (calls - paidCalls)) break;
            }
        }
        settle(row(payer, due, calls));
        assertGrant(payer, paid, budget - paid, paid == 0 ? 0 : paidCalls, "as tried");
    }

    // ------------------------------------------------- any order, any split (I-6)

    struct Usage {
        uint256 amount;
        uint256 calls;
    }

    /// @dev What an honest provider's counters read after each of a few calls.
    function _honestUsage(
        uint256 seed,
        uint256 price
    ) private pure returns (Usage[] memory chain) {
        chain = new Usage[](2 + (seed % 5));
        uint256 amount = 0;
        uint256 calls = 0;
        for (uint256 i = 0; i < chain.length; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 newCalls = bound(seed, 1, 9);
            calls += newCalls;
            amount += bound(seed >> 64, 1, price * newCalls);
            chain[i] = Usage(amount, calls);
        }
    }

    function _shuffle(Usage[] memory chain, uint256 seed) private pure {
        for (uint256 i = chain.length - 1; i > 0; --i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 j = seed % (i + 1);
            (chain[i], chain[j]) = (chain[j], chain[i]);
        }
    }

    function _settleInBatches(Usage[] memory chain, uint256 seed) private {
        bytes memory batch = "";
        for (uint256 i = 0; i < chain.length; ++i) {
            batch = bytes.concat(batch, row(payer, chain[i].amount, chain[i].calls));
            if ((seed >> i) & 1 == 1) {
                settle(batch);
                batch = "";
            }
        }
        if (batch.length != 0) settle(batch);
    }

    function testFuzz_OrderSplitAndRepetitionDoNotMatter(
        uint256 seed,
        uint256 order,
        uint256 split
    ) public {
        uint256 price = bound(seed >> 8, 1, 1_000_000);
        Usage[] memory chain = _honestUsage(seed, price);
        Usage memory last = chain[chain.length - 1];
        grantTo(payer, price, last.amount + 5);

        _shuffle(chain, order);
        _settleInBatches(chain, split);
        assertGrant(payer, last.amount, 5, last.calls, "once");
        _shuffle(chain, ~order);
        _settleInBatches(chain, ~split);
        assertGrant(payer, last.amount, 5, last.calls, "replayed");
        assertEq(escrow.balanceOf(provider), last.amount, "collected");
    }

    function testFuzz_AfterATopUpTheSameRowsCollectAllOfIt(
        uint256 seed,
        uint256 order,
        uint256 split,
        uint256 budget_
    ) public {
        uint256 price = bound(seed >> 8, 1, 100);
        Usage[] memory chain = _honestUsage(seed, price);
        Usage memory last = chain[chain.length - 1];
        uint256 budget = bound(budget_, 0, last.amount);
        grantTo(payer, price, budget);

        _shuffle(chain, order);
        _settleInBatches(chain, split);
        IEscrow.Grant memory before = grantOf(payer);
        assertEq(before.spent + before.budget, budget, "nothing lost");
        vm.assertTrue(before.spent <= price * before.calls, "within the price");
        _settleInBatches(chain, ~split);
        assertGrant(payer, before.spent, before.budget, before.calls, "replayed");

        _topUp(price, last.amount - before.spent);
        _shuffle(chain, ~order);
        _settleInBatches(chain, split);
        assertGrant(payer, last.amount, 0, last.calls, "topped up");
    }

    function _topUp(uint256 price, uint256 missing) private {
        if (missing != 0) fund(payer, missing);
        vm.prank(payer);
        escrow.approve(provider, price, missing);
    }

    // ------------------------------------------------------------ isolation (I-7)

    function testFuzz_NoRowsWhateverTheySayRevertTheBatch(bytes32[] calldata rows) public {
        vm.assume(rows.length != 0);
        grantTo(payer, 10, 100);
        settle(abi.encodePacked(rows));
        assertEq(escrow.balanceOf(provider), 100 - grantOf(payer).budget, "conserved");
    }

    function testFuzz_ABadRowChangesNothingForTheOthers(
        bytes12[6] calldata numbers,
        uint256 amount,
        uint256 calls
    ) public {
        uint256 newCalls = bound(calls, 1, 9);
        uint256 due = bound(amount, 1, 10 * newCalls);
        grantTo(payer, 10, 100);
        grantTo(other, 10, 100);
        bytes memory batch = "";
        for (uint256 i = 0; i < numbers.length; ++i) {
            batch = bytes.concat(batch, abi.encodePacked(payer, numbers[i]));
            if (i == 3) batch = bytes.concat(batch, row(other, due, newCalls));
        }
        settle(batch);
        assertGrant(other, due, 100 - due, newCalls, "as without the others");
        IEscrow.Grant memory grant = grantOf(payer);
        assertEq(grant.spent + grant.budget, 100, "its own money");
        assertEq(escrow.balanceOf(provider), due + grant.spent, "and nobody else's");
    }
}
