// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowTest} from "./support/EscrowTest.sol";
import {Wallet} from "./support/Wallets.sol";

/// @title Approvals and withdrawals that somebody else sends: as signed, once, in time
contract EscrowSignedTest is EscrowTest {
    address private relay = account("relay");

    function setUp() public override {
        super.setUp();
        fund(payer, 1_000);
    }

    // ----------------------------------------------------------------- approve

    function _terms() private view returns (IEscrow.Terms memory) {
        return termsOf(10, 80, NOW + 9 days, 33);
    }

    function _signApprove(
        address who,
        IEscrow.Terms memory terms,
        uint256 nonce,
        uint256 deadline
    ) private view returns (bytes memory) {
        return sign(keyOf("payer"), approveDigest(escrow, who, terms, nonce, deadline));
    }

    function test_ASignedApprovalReservesThePayersMoney() public {
        bytes memory signature = _signApprove(payer, _terms(), 0, NOW);
        vm.expectEmit(address(escrow));
        emit IEscrow.Approved(
            payer,
            provider,
            METERED,
            10,
            80,
            uint32(NOW + 9 days),
            33,
            0,
            0,
            0,
            920
        );
        vm.prank(relay);
        escrow.approveBySig(payer, _terms(), NOW, signature);
        assertEq(grantOf(payer).budget, 80, "reserved");
        assertEq(escrow.balanceOf(payer), 920, "from the payer");
        assertEq(escrow.nonces(payer), 1, "once");
        assertEq(escrow.nonces(relay), 0, "of the payer");

        expectRefused(payer);
        vm.prank(relay);
        escrow.approveBySig(payer, _terms(), NOW, signature);
    }

    function expectRefused(address who) private {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.SignatureInvalid.selector, who));
    }

    function test_NoFieldOfAnApprovalCanBeChangedOnTheWay() public {
        fund(stranger, 1_000);
        bytes memory signature = _signApprove(payer, _terms(), 0, NOW + 5);
        for (uint256 which = 0; which < 8; ++which) {
            IEscrow.Terms memory altered = _terms();
            address who = which == 0 ? stranger : payer;
            if (which == 1) altered.provider = stranger;
            if (which == 2) altered.signer = stranger;
            if (which == 3) altered.price += 1;
            if (which == 4) altered.budget += 1;
            if (which == 5) altered.expiry += 1;
            if (which == 6) altered.notice += 1;
            uint256 deadline = which == 7 ? NOW + 6 : NOW + 5;
            expectRefused(who);
            escrow.approveBySig(who, altered, deadline, signature);
        }
        escrow.approveBySig(payer, _terms(), NOW + 5, signature);
    }

    function test_SignaturesAreUsedInTheirOrderAndUntilTheirDeadline() public {
        bytes memory first = _signApprove(payer, _terms(), 0, NOW + 5);
        IEscrow.Terms memory more = _terms();
        more.budget = 90;
        bytes memory second = _signApprove(payer, more, 1, NOW + 5);
        expectRefused(payer);
        escrow.approveBySig(payer, more, NOW + 5, second);
        escrow.approveBySig(payer, _terms(), NOW + 5, first);
        vm.warp(NOW + 6);
        expectRevert(IEscrow.DeadlinePassed.selector, NOW + 5);
        escrow.approveBySig(payer, more, NOW + 5, second);
        vm.warp(NOW + 5);
        escrow.approveBySig(payer, more, NOW + 5, second);
        assertEq(grantOf(payer).budget, 90, "both");
    }

    function test_ASignatureForAnotherEscrowOrByAnotherKeyIsRefused() public {
        bytes32 digest = approveDigest(escrow, payer, _terms(), 0, NOW);
        bytes[4] memory bad = [
            sign(keyOf("stranger"), digest),
            signCompact(keyOf("payer"), digest),
            new bytes(65),
            bytes("")
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            expectRefused(payer);
            escrow.approveBySig(payer, _terms(), NOW, bad[i]);
        }
        // Nobody's signature is not that of the zero address.
        vm.prank(payer);
        escrow.withdraw(1);
        usdc.mint(stranger, 100);
        vm.startPrank(stranger);
        usdc.approve(address(escrow), 100);
        escrow.depositFor(address(0), 100);
        vm.stopPrank();
        expectRefused(address(0));
        escrow.withdrawBySig(address(0), stranger, 100, NOW, new bytes(65));
    }

    function test_ASignedApprovalThatIsRefusedCanBeSentLater() public {
        IEscrow.Terms memory terms = _terms();
        terms.budget = 1_001;
        bytes memory signature = _signApprove(payer, terms, 0, NOW);
        expectRevert(IEscrow.BalanceTooLow.selector, 1_000, 1_001);
        escrow.approveBySig(payer, terms, NOW, signature);
        fund(payer, 1);
        escrow.approveBySig(payer, terms, NOW, signature);
        assertEq(grantOf(payer).budget, 1_001, "now");
    }

    // ---------------------------------------------------------------- withdraw

    function _signWithdraw(
        address to,
        uint256 amount,
        uint256 nonce,
        uint256 deadline
    ) private view returns (bytes memory) {
        return
            sign(
                keyOf("payer"),
                withdrawDigest(escrow, payer, to, amount, nonce, deadline)
            );
    }

    function test_ASignedWithdrawalPaysWhomItNames() public {
        bytes memory signature = _signWithdraw(stranger, 300, 0, NOW);
        vm.expectEmit(address(escrow));
        emit IEscrow.Withdrawn(payer, 300, 700);
        vm.prank(relay);
        escrow.withdrawBySig(payer, stranger, 300, NOW, signature);
        assertEq(usdc.balanceOf(stranger), 300, "paid");
        assertEq(escrow.balanceOf(payer), 700, "from the payer");
        assertEq(escrow.totalHeld(), 700, "held");
        expectRefused(payer);
        escrow.withdrawBySig(payer, stranger, 300, NOW, signature);
    }

    function test_NoFieldOfAWithdrawalCanBeChangedOnTheWay() public {
        fund(stranger, 1_000);
        bytes memory signature = _signWithdraw(stranger, 300, 0, NOW);
        expectRefused(payer);
        escrow.withdrawBySig(payer, relay, 300, NOW, signature);
        expectRefused(payer);
        escrow.withdrawBySig(payer, stranger, 301, NOW, signature);
        expectRefused(payer);
        escrow.withdrawBySig(payer, stranger, 300, NOW + 1, signature);
        expectRefused(stranger);
        escrow.withdrawBySig(stranger, stranger, 300, NOW, signature);
        vm.warp(NOW + 1);
        expectRevert(IEscrow.DeadlinePassed.selector, NOW);
        escrow.withdrawBySig(payer, stranger, 300, NOW, signature);
        vm.warp(NOW);
        escrow.withdrawBySig(payer, stranger, 300, NOW, signature);
    }

    function test_ApprovalsAndWithdrawalsShareTheirNumbers() public {
        bytes memory approval = _signApprove(payer, _terms(), 0, NOW);
        bytes memory withdrawal = _signWithdraw(stranger, 300, 1, NOW);
        expectRefused(payer);
        escrow.withdrawBySig(payer, stranger, 300, NOW, withdrawal);
        escrow.approveBySig(payer, _terms(), NOW, approval);
        escrow.withdrawBySig(payer, stranger, 300, NOW, withdrawal);
        assertEq(escrow.nonces(payer), 2, "two");
    }

    function test_AWithdrawalGoesWhereItsOwnerWants() public {
        vm.startPrank(payer);
        vm.expectEmit(address(escrow));
        emit IEscrow.Withdrawn(payer, 300, 700);
        escrow.withdrawTo(stranger, 300);
        assertEq(usdc.balanceOf(stranger), 300, "there");
        expectRevert(IEscrow.AmountZero.selector);
        escrow.withdrawTo(stranger, 0);
        expectRevert(IEscrow.BalanceTooLow.selector, 700, 701);
        escrow.withdrawTo(stranger, 701);
        // To the escrow itself it would be nobody's.
        expectRevert(IEscrow.TokenMovedOther.selector, 0, 300);
        escrow.withdrawTo(address(escrow), 300);
        vm.stopPrank();
        assertEq(escrow.balanceOf(payer), 700, "as before");
    }

    // ---------------------------------------------- contracts and delegated keys

    function test_ASmartAccountSignsForItself() public {
        Wallet wallet = new Wallet(payer);
        fund(address(wallet), 500);
        bytes memory signature = _signApprove(address(wallet), _terms(), 0, NOW);
        escrow.approveBySig(address(wallet), _terms(), NOW, signature);
        assertEq(grantOf(address(wallet)).budget, 80, "reserved");
        bytes32 digest = withdrawDigest(escrow, address(wallet), relay, 100, 1, NOW);
        escrow.withdrawBySig(
            address(wallet),
            relay,
            100,
            NOW,
            sign(keyOf("payer"), digest)
        );
        assertEq(usdc.balanceOf(relay), 100, "paid");
    }

    function test_ASmartAccountThatRefusesIsRefused() public {
        Wallet wallet = new Wallet(stranger);
        fund(address(wallet), 500);
        bytes memory signature = _signApprove(address(wallet), _terms(), 0, NOW);
        for (uint256 mood = 0; mood <= uint256(type(Wallet.Mood).max); ++mood) {
            if (mood == uint256(Wallet.Mood.SaysYes)) continue;
            if (mood == uint256(Wallet.Mood.BurnsGas)) continue;
            wallet.setMood(Wallet.Mood(mood));
            expectRefused(address(wallet));
            escrow.approveBySig(address(wallet), _terms(), NOW, signature);
        }
    }

    /// @notice An account with a key and a contract's code (EIP-7702) signs with either.
    function test_ADelegatedAccountSignsWithItsKeyWhateverItsCodeSays() public {
        Wallet hostile = new Wallet(stranger);
        hostile.setMood(Wallet.Mood.Reverts);
        bytes memory signature = _signApprove(payer, _terms(), 0, NOW);
        vm.etch(payer, address(hostile).code);
        escrow.approveBySig(payer, _terms(), NOW, signature);
        assertEq(grantOf(payer).budget, 80, "reserved");
        vm.assertTrue(escrow.isSignedBy(payer, "x", sign(keyOf("payer"), "x")), "by its key");
        vm.assertTrue(!escrow.isSignedBy(payer, "x", sign(keyOf("payer"), "y")), "only this");
    }
}
