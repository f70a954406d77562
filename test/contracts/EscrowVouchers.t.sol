// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {TypedData} from "../../contracts/TypedData.sol";
import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowTest} from "./support/EscrowTest.sol";
import {newEscrow} from "./support/Published.sol";
import {Wallet} from "./support/Wallets.sol";

/// @title Redeem: what a signature is worth, and what nothing else is worth
contract EscrowVouchersTest is EscrowTest {
    address private other = account("other payer");

    function _expectSkipped(address who, uint256 index, IEscrow.SkipReason reason) private {
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(who, provider, index, reason);
    }

    function _assertSpent(address signer, uint256 spent, string memory what) private view {
        assertEq(escrow.grantOf(payer, provider, signer).spent, spent, what);
    }

    // ------------------------------------------------------------- what is paid

    function test_VouchersOfPayersAndOfSessionKeysArePaidFromTheirOwnGrants() public {
        grantSigned(payer, payer, 10, 100);
        grantSigned(payer, session, 20, 200);
        grantSigned(other, other, 30, 300);
        bytes memory rows = bytes.concat(
            redeemRow(payer, "payer", 30, 4),
            redeemRow(payer, "session", 200, 10),
            redeemRow(other, "other payer", 30, 1)
        );
        vm.expectEmit(address(escrow));
        emit IEscrow.Redeemed(payer, provider, usage(30, 70, 30, 4));
        vm.expectEmit(address(escrow));
        emit IEscrow.RedeemedBySession(payer, provider, session, usage(200, 0, 200, 10));
        vm.expectEmit(address(escrow));
        emit IEscrow.Redeemed(other, provider, usage(30, 270, 30, 1));
        vm.expectEmit(address(escrow));
        emit IEscrow.BatchSettled(provider, 260, 260, bytes32("root"));
        redeem(rows);
        assertEq(escrow.balanceOf(provider), 260, "provider");
        assertEq(escrow.totalHeld(), 600, "held");
        assertEq(escrow.grantOf(payer, provider, METERED).spent, 0, "not metered use");
    }

    function testFuzz_AVoucherAdmitsEveryClaimUpToWhatItSays(
        uint64 maxAmount_,
        uint32 maxCalls_,
        uint256 claimed_,
        uint256 calls_
    ) public {
        uint256 maxCalls = bound(maxCalls_, 1, 1_000_000);
        uint256 maxAmount = bound(maxAmount_, 1, 10 * maxCalls);
        uint256 calls = bound(calls_, (maxAmount + 9) / 10, maxCalls);
        uint256 claimed = bound(claimed_, 1, maxAmount);
        grantSigned(payer, session, 10, maxAmount);
        TypedData.Voucher memory voucher = voucherOf(payer, maxAmount, maxCalls, 0);
        bytes memory signature = signVoucher(escrow, voucher, keyOf("session"));

        redeem(redeemRow(voucher, claimed, calls, signature));
        _assertSpent(session, claimed, "the claim");
        assertEq(escrow.grantOf(payer, provider, session).calls, calls, "its calls");

        _expectSkipped(payer, 0, IEscrow.SkipReason.AboveVoucher);
        redeem(redeemRow(voucher, maxAmount + 1, maxCalls, signature));
        _expectSkipped(payer, 0, IEscrow.SkipReason.AboveVoucher);
        redeem(redeemRow(voucher, maxAmount, maxCalls + 1, signature));
        _assertSpent(session, claimed, "no more");
    }

    function test_ARedeemedVoucherPaysNothingAgainAndALaterOnePaysTheDifference() public {
        grantSigned(payer, session, 10, 100);
        redeem(redeemRow(payer, "session", 30, 3));
        _expectSkipped(payer, 0, IEscrow.SkipReason.NothingDue);
        redeem(redeemRow(payer, "session", 30, 3));
        redeem(redeemRow(payer, "session", 50, 5));
        _expectSkipped(payer, 0, IEscrow.SkipReason.NothingDue);
        redeem(redeemRow(payer, "session", 30, 3));
        assertEq(escrow.balanceOf(provider), 50, "collected once");
    }

    function test_PriceAndBudgetBindVouchersToo() public {
        grantSigned(payer, session, 10, 25);
        _expectSkipped(payer, 0, IEscrow.SkipReason.PriceAboveCap);
        redeem(redeemRow(payer, "session", 31, 3));
        redeem(redeemRow(payer, "session", 100, 10));
        _assertSpent(session, 20, "whole calls only");
        _expectSkipped(payer, 0, IEscrow.SkipReason.BudgetTooLow);
        redeem(redeemRow(payer, "session", 100, 10));
        _expectSkipped(payer, 0, IEscrow.SkipReason.PriceAboveCap);
        redeem(redeemRow(payer, "session", 21, 2));
        grantSigned(payer, session, 10, 80);
        redeem(redeemRow(payer, "session", 100, 10));
        _assertSpent(session, 100, "all of it after the top-up");
    }

    // ----------------------------------------------------- what is not (I-4)

    function test_RowsHave109BytesAndThereIsOne() public {
        for (uint256 length = 0; length < 330; ++length) {
            if (length % 109 == 0 && length != 0) continue;
            expectRevert(IEscrow.RowsMalformed.selector, length);
            redeem(new bytes(length));
        }
    }

    function test_BytesThatNobodySignedPayNothingFromAMeteredGrant() public {
        grantTo(payer, 10, 100);
        bytes[4] memory forged = [
            abi.encode(uint256(0), uint256(0)),
            abi.encode(uint256(1), uint256(0)),
            abi.encode(uint256(0), uint256(1)),
            abi.encode(type(uint256).max, uint256(1))
        ];
        for (uint256 i = 0; i < forged.length; ++i) {
            _expectSkipped(payer, 0, IEscrow.SkipReason.SignatureInvalid);
            redeem(redeemRow(voucherOf(payer, 10, 1, 0), 10, 1, forged[i]));
        }
        assertGrant(payer, 0, 100, 0, "untouched");
    }

    function test_ASignatureHasOneFormOnly() public {
        grantSigned(payer, session, 10, 100);
        TypedData.Voucher memory voucher = voucherOf(payer, 10, 1, 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            keyOf("session"),
            voucherDigest(escrow, voucher)
        );
        // The twin of every signature: the other s with the other v. It has no room in 64 bytes.
        uint256 highS = CURVE_ORDER - uint256(s);
        bytes memory twin = abi.encodePacked(r, highS | (uint256(28 - v) << 255));
        redeem(redeemRow(voucher, 10, 1, twin));
        _assertSpent(session, 0, "untouched");
        redeem(redeemRow(voucher, 10, 1, signVoucher(escrow, voucher, keyOf("session"))));
        _assertSpent(session, 10, "the proper form");
    }

    function test_TheHighestSOfAProperSignatureIsTheHalfOfTheOrder() public {
        grantSigned(payer, session, 10, 100);
        bytes memory row = redeemRow(payer, "session", 10, 1);
        uint256 half = CURVE_ORDER / 2;
        // Half the order is a proper s, of some unknown key; one more is not.
        for (uint256 i = 0; i < 2; ++i) {
            for (uint256 at = 0; at < 32; ++at) row[77 + at] = bytes32(half + i)[at];
            _expectSkipped(
                payer,
                0,
                i == 0 ? IEscrow.SkipReason.GrantMissing : IEscrow.SkipReason.SignatureInvalid
            );
            redeem(row);
        }
    }

    function testFuzz_ARowThatWasAlteredAnywherePaysNothing(uint256 at_, uint8 flip) public {
        vm.assume(flip != 0);
        grantSigned(payer, session, 10, 1_000);
        grantSigned(payer, payer, 10, 1_000);
        grantTo(payer, 10, 1_000);
        TypedData.Voucher memory voucher = voucherOf(payer, 300, 50, 0);
        bytes memory row = redeemRow(
            voucher,
            200,
            40,
            signVoucher(escrow, voucher, keyOf("session"))
        );
        uint256 at = bound(at_, 0, 108);
        // What is claimed may change within the voucher; all else is signed.
        bool claim = (at >= 20 && at < 28) || (at >= 36 && at < 40);
        row[at] = bytes1(uint8(row[at]) ^ flip);
        redeem(row);
        vm.assertTrue(escrow.balanceOf(provider) <= (claim ? 300 : 0), "what was signed");
        assertEq(grantOf(payer).spent, 0, "metered");
        _assertSpent(payer, 0, "another lane");
    }

    function test_SignaturesForOtherChainsEscrowsProvidersAndTypesPayNothing() public {
        grantSigned(payer, session, 10, 100);
        TypedData.Voucher memory voucher = voucherOf(payer, 10, 1, 0);
        uint256 key = keyOf("session");

        bytes memory signature = signVoucher(newEscrow(usdc), voucher, key);
        redeem(redeemRow(voucher, 10, 1, signature));

        voucher.provider = stranger;
        signature = signVoucher(escrow, voucher, key);
        redeem(redeemRow(voucher, 10, 1, signature));

        voucher.provider = provider;
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Khachapuri"),
                keccak256("1"),
                block.chainid + 1,
                address(escrow)
            )
        );
        bytes32 structHash = TypedData.hash(voucher);
        signature = signCompact(
            key,
            keccak256(abi.encodePacked(hex"1901", domain, structHash))
        );
        redeem(redeemRow(voucher, 10, 1, signature));
        redeem(redeemRow(voucher, 10, 1, signCompact(key, structHash)));
        _assertSpent(session, 0, "none of them");
        assertEq(escrow.balanceOf(provider), 0, "nothing collected");

        redeem(redeemRow(voucher, 10, 1, signVoucher(escrow, voucher, key)));
        _assertSpent(session, 10, "the proper one");
    }

    function test_AVoucherIsForItsProviderOnly() public {
        grantSigned(payer, session, 10, 100);
        bytes memory row = redeemRow(payer, "session", 10, 1);
        vm.expectEmit(address(escrow));
        emit IEscrow.Skipped(payer, stranger, 0, IEscrow.SkipReason.GrantMissing);
        vm.prank(stranger);
        escrow.redeem(row, 0);
        _assertSpent(session, 0, "untouched");
    }

    function test_ReclaimingEndsTheVouchersOfItsEpoch() public {
        grantSigned(payer, session, 10, 100);
        redeem(redeemRow(payer, "session", 30, 3));
        bytes memory old = redeemRow(payer, "session", 90, 9);
        vm.startPrank(payer);
        escrow.revoke(provider, session);
        vm.warp(NOW + 48 hours);
        escrow.reclaim(provider, session);
        vm.stopPrank();
        _expectSkipped(payer, 0, IEscrow.SkipReason.GrantMissing);
        redeem(old);

        grantSigned(payer, session, 10, 100);
        _expectSkipped(payer, 0, IEscrow.SkipReason.EpochOther);
        redeem(old);
        TypedData.Voucher memory voucher = voucherOf(payer, 90, 9, 1);
        redeem(redeemRow(voucher, 90, 9, signVoucher(escrow, voucher, keyOf("session"))));
        _assertSpent(session, 90, "sixty more, in the new epoch");
    }

    function test_AVoucherIsPaidWithinTheNoticeAndUntilTheGrantIsReclaimed() public {
        grantSigned(payer, session, 10, 100);
        vm.prank(payer);
        escrow.revoke(provider, session);
        vm.warp(NOW + 48 hours - 1);
        redeem(redeemRow(payer, "session", 30, 3));
        vm.warp(NOW + 30 days);
        redeem(redeemRow(payer, "session", 60, 6));
        _assertSpent(session, 60, "both");
    }

    /// @notice An account that runs a contract's code (EIP-7702) still signs with its key.
    function test_CodeAtTheSignersAddressChangesNothing() public {
        grantSigned(payer, payer, 10, 100);
        vm.etch(payer, abi.encodePacked(hex"ef0100", address(usdc)));
        redeem(redeemRow(payer, "payer", 30, 3));
        Wallet hostile = new Wallet(stranger);
        hostile.setMood(Wallet.Mood.BurnsGas);
        vm.etch(payer, address(hostile).code);
        redeem(redeemRow(payer, "payer", 60, 6));
        _assertSpent(payer, 60, "both");
    }

    // ------------------------------------------------ isolation, order (I-6, I-7)

    function testFuzz_NoRowsWhateverTheySayRevertTheBatch(bytes32[11] calldata noise) public {
        grantSigned(payer, session, 10, 100);
        grantTo(payer, 10, 100);
        bytes memory row = abi.encodePacked(payer, noise[0], noise[1], noise[2]);
        bytes memory rows = bytes.concat(row, hex"00", this.cut(abi.encodePacked(noise), 327));
        rows = this.cut(rows, 327);
        redeem(rows);
        assertEq(escrow.balanceOf(provider), 0, "noise is worth nothing");
    }

    function cut(bytes calldata bytes_, uint256 length) external pure returns (bytes memory) {
        return bytes_[:length];
    }

    function testFuzz_ABadRowChangesNothingForTheOthers(bytes32 noise, uint8 before) public {
        grantSigned(payer, session, 10, 100);
        grantSigned(other, other, 10, 100);
        bytes memory bad = redeemRow(payer, "session", 30, 3);
        bad[45 + (before % 64)] = bytes1(noise);
        bytes memory rows = bytes.concat(bad, redeemRow(other, "other payer", 50, 5), bad);
        uint256 expected = keccak256(bad) == keccak256(redeemRow(payer, "session", 30, 3))
            ? 30
            : 0;
        redeem(rows);
        assertEq(escrow.grantOf(other, provider, other).spent, 50, "the good row");
        _assertSpent(session, expected, "the bad row");
        assertEq(escrow.balanceOf(provider), 50 + expected, "the sum");
    }

    function testFuzz_OrderSplitAndRepetitionDoNotMatter(uint256 seed) public {
        grantSigned(payer, session, 10, 1_000);
        bytes[6] memory rows;
        for (uint256 i = 0; i < 6; ++i) {
            rows[i] = redeemRow(payer, "session", 60 * (i + 1), 7 * (i + 1));
        }
        for (uint256 i = 5; i > 0; --i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 j = seed % (i + 1);
            (rows[i], rows[j]) = (rows[j], rows[i]);
        }
        bytes memory batch = "";
        for (uint256 i = 0; i < 12; ++i) {
            batch = bytes.concat(batch, rows[i % 6]);
            if ((seed >> i) & 1 == 0) continue;
            redeem(batch);
            batch = "";
        }
        if (batch.length != 0) redeem(batch);
        _assertSpent(session, 360, "the highest voucher");
        assertEq(escrow.grantOf(payer, provider, session).calls, 42, "its calls");
        assertEq(escrow.balanceOf(provider), 360, "collected");
    }

    // --------------------------------------------------------- contracts sign

    function _walletVoucher(
        address who,
        address signer,
        uint256 amount,
        uint256 calls,
        string memory key
    ) private view returns (IEscrow.ContractVoucher memory voucher) {
        voucher.payer = who;
        voucher.signer = signer;
        (voucher.claimed, voucher.maxAmount) = (uint64(amount), uint64(amount));
        (voucher.calls, voucher.maxCalls) = (uint32(calls), uint32(calls));
        voucher.signature = sign(
            keyOf(key),
            voucherDigest(escrow, voucherOf(who, amount, calls, 0))
        );
    }

    function _redeemContract(IEscrow.ContractVoucher[] memory vouchers) private {
        vm.prank(provider);
        escrow.redeemContract(vouchers, bytes32("root"));
    }

    function _redeemOne(IEscrow.ContractVoucher memory voucher) private {
        IEscrow.ContractVoucher[] memory vouchers = new IEscrow.ContractVoucher[](1);
        vouchers[0] = voucher;
        _redeemContract(vouchers);
    }

    function test_ContractsAndKeysSignForTheSlowPath() public {
        Wallet wallet = new Wallet(account("wallet key"));
        grantSigned(address(wallet), address(wallet), 10, 100);
        grantSigned(payer, session, 10, 100);
        IEscrow.ContractVoucher[] memory vouchers = new IEscrow.ContractVoucher[](3);
        vouchers[0] = _walletVoucher(address(wallet), address(wallet), 30, 3, "wallet key");
        vouchers[1] = _walletVoucher(payer, session, 40, 4, "session");
        vouchers[2] = _walletVoucher(payer, session, 50, 5, "payer");
        vm.expectEmit(address(escrow));
        emit IEscrow.Redeemed(address(wallet), provider, usage(30, 70, 30, 3));
        vm.expectEmit(address(escrow));
        emit IEscrow.RedeemedBySession(payer, provider, session, usage(40, 60, 40, 4));
        _expectSkipped(payer, 2, IEscrow.SkipReason.SignatureInvalid);
        vm.expectEmit(address(escrow));
        emit IEscrow.BatchSettled(provider, 70, 70, bytes32("root"));
        _redeemContract(vouchers);
        assertEq(escrow.balanceOf(provider), 70, "collected");

        _expectSkipped(address(wallet), 0, IEscrow.SkipReason.NothingDue);
        _redeemOne(vouchers[0]);
    }

    function test_WhatASignerSaysMayCostTheDocumentedGas() public {
        Wallet wallet = new Wallet(account("wallet key"));
        grantSigned(address(wallet), address(wallet), 10, 100);
        bytes memory asked = abi.encodeWithSelector(escrow.isSignedBy.selector, address(wallet));
        vm.expectCall(address(escrow), 0, 500_000, asked);
        _redeemOne(_walletVoucher(address(wallet), address(wallet), 30, 3, "wallet key"));
    }

    function test_AContractVoucherIsBoundInAllItsNumbers() public {
        Wallet wallet = new Wallet(account("wallet key"));
        grantSigned(address(wallet), address(wallet), 10, 100);
        IEscrow.ContractVoucher memory voucher = _walletVoucher(
            address(wallet),
            address(wallet),
            30,
            3,
            "wallet key"
        );
        voucher.claimed = 31;
        _expectSkipped(address(wallet), 0, IEscrow.SkipReason.AboveVoucher);
        _redeemOne(voucher);
        voucher.claimed = 30;
        voucher.calls = 4;
        _expectSkipped(address(wallet), 0, IEscrow.SkipReason.AboveVoucher);
        _redeemOne(voucher);
        voucher.calls = 3;
        voucher.epoch = 1;
        _expectSkipped(address(wallet), 0, IEscrow.SkipReason.SignatureInvalid);
        _redeemOne(voucher);
        voucher.epoch = 0;
        voucher.maxAmount = 31;
        _expectSkipped(address(wallet), 0, IEscrow.SkipReason.SignatureInvalid);
        _redeemOne(voucher);
        voucher.maxAmount = 30;
        voucher.maxCalls = 4;
        _expectSkipped(address(wallet), 0, IEscrow.SkipReason.SignatureInvalid);
        _redeemOne(voucher);
        voucher.maxCalls = 3;
        _redeemOne(voucher);
        assertEq(escrow.balanceOf(provider), 30, "as signed");
    }

    function test_NobodySignsForTheMeteredGrantOfTheSlowPath() public {
        grantTo(payer, 10, 100);
        IEscrow.ContractVoucher memory voucher = _walletVoucher(payer, METERED, 30, 3, "payer");
        _expectSkipped(payer, 0, IEscrow.SkipReason.SignatureInvalid);
        _redeemOne(voucher);
        voucher.signature = new bytes(65);
        _expectSkipped(payer, 0, IEscrow.SkipReason.SignatureInvalid);
        _redeemOne(voucher);
        voucher.signature = "";
        _expectSkipped(payer, 0, IEscrow.SkipReason.SignatureInvalid);
        _redeemOne(voucher);
        assertGrant(payer, 0, 100, 0, "untouched");
    }

    function test_AHostileSignerOnlyLosesItsOwnRow() public {
        Wallet wallet = new Wallet(stranger);
        grantSigned(address(wallet), address(wallet), 10, 100);
        grantSigned(payer, session, 10, 1_000);
        for (uint256 mood = 1; mood <= uint256(type(Wallet.Mood).max); ++mood) {
            if (mood == uint256(Wallet.Mood.SaysYes)) continue;
            wallet.setMood(Wallet.Mood(mood));
            IEscrow.ContractVoucher[] memory vouchers = new IEscrow.ContractVoucher[](2);
            vouchers[0] = _walletVoucher(address(wallet), address(wallet), 30, 3, "stranger");
            vouchers[1] = _walletVoucher(payer, session, 10 * mood, mood, "session");
            uint256 gasBefore = gasleft();
            _expectSkipped(address(wallet), 0, IEscrow.SkipReason.SignatureInvalid);
            _redeemContract(vouchers);
            vm.assertTrue(gasBefore - gasleft() < 800_000, "at most its own gas");
            _assertSpent(session, 10 * mood, "the good row");
        }
        wallet.setMood(Wallet.Mood.SaysYes);
        _redeemOne(_walletVoucher(address(wallet), address(wallet), 30, 3, "payer"));
        assertEq(escrow.grantOf(address(wallet), provider, address(wallet)).spent, 30, "its word");
    }

    function test_AnEmptyBatchOfContractVouchersIsRefused() public {
        expectRevert(IEscrow.RowsMalformed.selector, 0);
        _redeemContract(new IEscrow.ContractVoucher[](0));
    }
}
