// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowTest} from "./support/EscrowTest.sol";

/// @title Trial calls and ratings: no money comes of them
contract EscrowTrialsTest is EscrowTest {
    address private user = account("user");

    function _creditRow(address who, uint256 used) private pure returns (bytes memory) {
        return abi.encodePacked(who, uint96(used));
    }

    function _use(bytes memory rows) private {
        vm.prank(provider);
        escrow.useCredits(rows);
    }

    function _assertCredits(uint256 granted, uint256 used, string memory what) private view {
        IEscrow.Credits memory credits = escrow.creditsOf(provider, user);
        assertEq(credits.granted, granted, string.concat(what, ": granted"));
        assertEq(credits.used, used, string.concat(what, ": used"));
    }

    function test_AProviderGivesCallsAwayAndCountsThem() public {
        vm.startPrank(provider);
        vm.expectEmit(address(escrow));
        emit IEscrow.CreditsGranted(provider, user, 10, 10, 0);
        escrow.grantCredits(user, 10);
        vm.expectEmit(address(escrow));
        emit IEscrow.CreditsUsed(provider, user, 10, 4);
        escrow.useCredits(_creditRow(user, 4));
        vm.expectEmit(address(escrow));
        emit IEscrow.CreditsGranted(provider, user, 5, 15, 4);
        escrow.grantCredits(user, 5);
        escrow.useCredits(_creditRow(user, 15));
        vm.stopPrank();
        _assertCredits(15, 15, "all");
        IEscrow.Credits memory others = escrow.creditsOf(user, provider);
        assertEq(others.granted + others.used, 0, "of nobody else");
    }

    function test_EachBadRowIsSkippedAndTheOthersCount() public {
        address other = account("other");
        vm.startPrank(provider);
        escrow.grantCredits(user, 10);
        escrow.grantCredits(other, 10);
        vm.stopPrank();
        _use(_creditRow(user, 4));
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(user, provider, 0, IEscrow.SkipReason.NothingDue);
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(user, provider, 1, IEscrow.SkipReason.CreditsTooLow);
        vm.expectEmit(address(escrow));
        emit IEscrow.CreditsUsed(provider, other, 10, 10);
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(user, provider, 3, IEscrow.SkipReason.CreditsTooLow);
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(stranger, provider, 4, IEscrow.SkipReason.CreditsTooLow);
        _use(
            bytes.concat(
                _creditRow(user, 4),
                _creditRow(user, 11),
                _creditRow(other, 10),
                _creditRow(user, (1 << 64) + 5),
                _creditRow(stranger, 1)
            )
        );
        _assertCredits(10, 4, "as before");
    }

    function test_EachRowGivesOneEvent() public {
        vm.recordLogs();
        _use(bytes.concat(_creditRow(user, 1), _creditRow(stranger, 1)));
        assertEq(vm.getRecordedLogs().length, 2, "events");
    }

    function test_CreditsAreTheirProvidersOnly() public {
        vm.prank(provider);
        escrow.grantCredits(user, 10);
        vm.prank(stranger);
        escrow.useCredits(_creditRow(user, 1));
        _assertCredits(10, 0, "untouched");
    }

    function test_CreditsHaveBounds() public {
        vm.startPrank(provider);
        expectRevert(IEscrow.AmountZero.selector);
        escrow.grantCredits(user, 0);
        escrow.grantCredits(user, type(uint64).max);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        escrow.grantCredits(user, 1);
        escrow.useCredits(_creditRow(user, type(uint64).max));
        vm.stopPrank();
        _assertCredits(type(uint64).max, type(uint64).max, "all there can be");
        for (uint256 length = 0; length < 100; ++length) {
            if (length % 32 == 0 && length != 0) continue;
            expectRevert(IEscrow.RowsMalformed.selector, length);
            _use(new bytes(length));
        }
    }

    function test_CreditsAreNoMoney() public {
        fund(payer, 100);
        vm.prank(provider);
        escrow.grantCredits(user, 10);
        _use(_creditRow(user, 10));
        address[3] memory all = [user, provider, payer];
        for (uint256 i = 0; i < 3; ++i) {
            uint256 free = all[i] == payer ? 100 : 0;
            vm.prank(all[i]);
            expectRevert(IEscrow.BalanceTooLow.selector, free, free + 1);
            escrow.withdraw(free + 1);
        }
        assertEq(escrow.totalHeld(), 100, "held");
    }

    // ----------------------------------------------------------------- ratings

    function test_WhoPaidMayRate() public {
        grantTo(payer, 10, 100);
        vm.prank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.NothingSpent.selector, payer, provider, METERED)
        );
        escrow.rate(provider, 90, "receipt");
        settle(row(payer, 30, 3));
        vm.expectEmit(address(escrow));
        emit IEscrow.Rated(payer, provider, METERED, 90, "receipt", 30, 3);
        vm.prank(payer);
        escrow.rate(provider, 90, "receipt");
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.NothingSpent.selector, stranger, provider, METERED)
        );
        escrow.rate(provider, 90, "receipt");
    }

    function test_WhoPaidByVouchersRatesByTheirSigner() public {
        grantSigned(payer, session, 10, 100);
        redeem(redeemRow(payer, "session", 10, 1));
        vm.startPrank(payer);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.NothingSpent.selector, payer, provider, METERED)
        );
        escrow.rate(provider, 100, 0);
        vm.expectEmit(address(escrow));
        emit IEscrow.Rated(payer, provider, session, 100, 0, 10, 1);
        escrow.rate(provider, session, 100, 0);
        expectRevert(IEscrow.OutOfRange.selector, 101, 100);
        escrow.rate(provider, session, 101, 0);
        escrow.rate(provider, session, 0, 0);
        vm.stopPrank();
    }
}
