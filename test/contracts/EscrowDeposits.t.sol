// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowTest} from "./support/EscrowTest.sol";
import {Wallet} from "./support/Wallets.sol";

/// @title All the ways in: whose money it is does not depend on who sends the transaction
contract EscrowDepositsTest is EscrowTest {
    bytes32 private constant SALT = "salt";

    function setUp() public override {
        super.setUp();
        usdc.mint(payer, 1_000);
    }

    // --------------------------------------------------------------- for others

    function test_ADepositForSomebodyIsTheirs() public {
        usdc.mint(stranger, 100);
        vm.startPrank(stranger);
        usdc.approve(address(escrow), 100);
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(payer, 100, 100);
        escrow.depositFor(payer, 100);
        expectRevert(IEscrow.AmountZero.selector);
        escrow.depositFor(payer, 0);
        expectRevert(IEscrow.OutOfRange.selector, type(uint256).max, type(uint64).max - 100);
        escrow.depositFor(payer, type(uint256).max);
        vm.stopPrank();
        assertEq(escrow.balanceOf(payer), 100, "payer");
        assertEq(escrow.balanceOf(stranger), 0, "stranger");
    }

    function test_AStrangersDepositTouchesNoTimer() public {
        grantTo(payer, 10, 100);
        vm.prank(payer);
        escrow.revoke(provider);
        bytes memory before = abi.encode(grantOf(payer));
        usdc.mint(stranger, 10);
        vm.startPrank(stranger);
        usdc.approve(address(escrow), 10);
        for (uint256 i = 0; i < 10; ++i) escrow.depositFor(payer, 1);
        vm.stopPrank();
        vm.assertEq(abi.encode(grantOf(payer)), before, "the grant");
        vm.warp(NOW + NOTICE);
        vm.startPrank(payer);
        escrow.reclaim(provider);
        escrow.withdraw(110);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ permits

    function _permit(uint256 amount, uint256 deadline) private view returns (bytes memory) {
        return sign(keyOf("payer"), permitDigest(usdc, payer, address(escrow), amount, deadline));
    }

    function test_APermitSparesATransaction() public {
        bytes memory signature = _permit(100, NOW);
        vm.prank(payer);
        escrow.depositWithPermit(100, NOW, signature);
        assertEq(escrow.balanceOf(payer), 100, "free");
        assertEq(usdc.allowance(payer, address(escrow)), 0, "used up");
    }

    function test_APermitThatWasSentBeforeDoesNoHarm() public {
        bytes memory signature = _permit(100, NOW);
        vm.prank(stranger);
        usdc.permit(payer, address(escrow), 100, NOW, signature);
        vm.prank(payer);
        escrow.depositWithPermit(100, NOW, signature);
        assertEq(escrow.balanceOf(payer), 100, "free");
    }

    function test_ABadPermitIsNoAllowance() public {
        bytes memory tooLow = abi.encodeWithSelector(
            IERC20Errors.ERC20InsufficientAllowance.selector,
            address(escrow),
            0,
            100
        );
        bytes memory expired = _permit(100, NOW - 1);
        bytes memory other = _permit(99, NOW);
        vm.startPrank(payer);
        vm.expectRevert(tooLow);
        escrow.depositWithPermit(100, NOW - 1, expired);
        vm.expectRevert(tooLow);
        escrow.depositWithPermit(100, NOW, other);
        expectRevert(IEscrow.AmountZero.selector);
        escrow.depositWithPermit(0, NOW, other);
        vm.stopPrank();
    }

    function test_APermitIsOfNoUseToAStranger() public {
        bytes memory signature = _permit(100, NOW);
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector,
                address(escrow),
                0,
                100
            )
        );
        escrow.depositWithPermit(100, NOW, signature);
        vm.prank(payer);
        escrow.depositWithPermit(100, NOW, signature);
    }

    // ----------------------------------------------------------- authorisations

    function _authorization(
        uint256 amount
    ) private view returns (IEscrow.Authorization memory) {
        return
            IEscrow.Authorization({
                from: payer,
                amount: amount,
                validAfter: NOW - 1,
                validBefore: NOW + 1 hours
            });
    }

    function _signed(
        IEscrow.Authorization memory authorization,
        bytes32 nonce
    ) private view returns (bytes memory) {
        return
            sign(keyOf("payer"), receiveDigest(usdc, address(escrow), authorization, nonce));
    }

    function test_AnybodySendsAnAuthorisationAndItsSignerHasTheMoney() public {
        IEscrow.Authorization memory authorization = _authorization(100);
        bytes memory signature = _signed(authorization, keccak256(abi.encode(SALT)));
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(payer, 100, 100);
        vm.prank(stranger);
        escrow.depositWithAuthorization(authorization, SALT, signature);
        assertEq(escrow.balanceOf(payer), 100, "payer");
        assertEq(escrow.balanceOf(stranger), 0, "stranger");

        vm.expectRevert(
            abi.encodeWithSelector(
                ERC3009.ERC3009UsedAuthorization.selector,
                payer,
                escrow.depositNonce(SALT)
            )
        );
        escrow.depositWithAuthorization(authorization, SALT, signature);
    }

    function test_AnAuthorisationIsBoundInAllItsNumbers() public {
        bytes memory signature = _signed(_authorization(100), escrow.depositNonce(SALT));
        for (uint256 which = 0; which < 5; ++which) {
            IEscrow.Authorization memory altered = _authorization(100);
            bytes32 salt = SALT;
            if (which == 0) altered.from = stranger;
            if (which == 1) altered.amount = 101;
            if (which == 2) altered.validAfter -= 1;
            if (which == 3) altered.validBefore += 1;
            if (which == 4) salt = "other";
            expectRevert(ERC3009.ERC3009InvalidSignature.selector);
            escrow.depositWithAuthorization(altered, salt, signature);
        }
        IEscrow.Authorization memory none = _authorization(0);
        expectRevert(IEscrow.AmountZero.selector);
        escrow.depositWithAuthorization(none, SALT, signature);
        vm.warp(NOW + 1 hours);
        expectRevert(
            ERC3009.ERC3009InvalidAuthorizationTime.selector,
            NOW - 1,
            NOW + 1 hours
        );
        escrow.depositWithAuthorization(_authorization(100), SALT, signature);
    }

    // -------------------------------------------------------- deposit + approve

    function _terms() private view returns (IEscrow.Terms memory) {
        return termsOf(10, 80, NOW + 9 days, 33);
    }

    function test_OneSignatureDepositsAndApproves() public {
        IEscrow.Authorization memory authorization = _authorization(100);
        IEscrow.Terms memory terms = _terms();
        bytes32 nonce = keccak256(
            abi.encode(
                terms.provider,
                terms.signer,
                terms.price,
                terms.budget,
                terms.expiry,
                terms.notice,
                SALT
            )
        );
        bytes memory signature = _signed(authorization, nonce);
        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(payer, 100, 100);
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
            20
        );
        vm.prank(stranger);
        escrow.depositAndApproveWithAuthorization(authorization, terms, SALT, signature);
        assertEq(escrow.balanceOf(payer), 20, "free");
        assertEq(grantOf(payer).budget, 80, "reserved");
    }

    function test_NoFieldOfTheGrantCanBeChangedOnTheWay() public {
        IEscrow.Authorization memory authorization = _authorization(100);
        bytes memory signature = _signed(authorization, escrow.grantNonce(_terms(), SALT));
        for (uint256 which = 0; which < 7; ++which) {
            IEscrow.Terms memory altered = _terms();
            bytes32 salt = SALT;
            if (which == 0) altered.provider = stranger;
            if (which == 1) altered.signer = stranger;
            if (which == 2) altered.price += 1;
            if (which == 3) altered.budget += 1;
            if (which == 4) altered.expiry += 1;
            if (which == 5) altered.notice += 1;
            if (which == 6) salt = "other";
            expectRevert(ERC3009.ERC3009InvalidSignature.selector);
            escrow.depositAndApproveWithAuthorization(authorization, altered, salt, signature);
        }
        escrow.depositAndApproveWithAuthorization(authorization, _terms(), SALT, signature);
        assertEq(grantOf(payer).budget, 80, "still usable");
    }

    /// @notice Whoever sees the transaction can only send it as it is: with no other function can
    /// the authorisation be used.
    function testFuzz_AGrantsAuthorisationIsNoDeposit(bytes32 salt) public {
        IEscrow.Authorization memory authorization = _authorization(100);
        bytes32 nonce = escrow.grantNonce(_terms(), SALT);
        bytes memory signature = _signed(authorization, nonce);
        vm.startPrank(stranger);
        expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        escrow.depositWithAuthorization(authorization, salt, signature);
        expectRevert(ERC3009.ERC3009InvalidSignature.selector);
        escrow.depositWithAuthorization(authorization, nonce, signature);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InvalidReceiver.selector,
                address(escrow)
            )
        );
        usdc.receiveWithAuthorization(
            payer,
            address(escrow),
            100,
            NOW - 1,
            NOW + 1 hours,
            nonce,
            signature
        );
        vm.stopPrank();
        escrow.depositAndApproveWithAuthorization(authorization, _terms(), SALT, signature);
        assertEq(grantOf(payer).budget, 80, "as signed");
    }

    function test_ARefusedGrantLeavesTheAuthorisationUnused() public {
        IEscrow.Authorization memory authorization = _authorization(70);
        bytes memory signature = _signed(authorization, escrow.grantNonce(_terms(), SALT));
        expectRevert(IEscrow.BalanceTooLow.selector, 70, 80);
        escrow.depositAndApproveWithAuthorization(authorization, _terms(), SALT, signature);
        assertEq(usdc.balanceOf(payer), 1_000, "nothing moved");
        usdc.mint(stranger, 10);
        vm.startPrank(stranger);
        usdc.approve(address(escrow), 10);
        escrow.depositFor(payer, 10);
        vm.stopPrank();
        escrow.depositAndApproveWithAuthorization(authorization, _terms(), SALT, signature);
        assertEq(grantOf(payer).budget, 80, "now");
    }

    function test_ASmartAccountDepositsAndApprovesByItsSignature() public {
        Wallet wallet = new Wallet(payer);
        usdc.mint(address(wallet), 100);
        IEscrow.Authorization memory authorization = _authorization(100);
        authorization.from = address(wallet);
        bytes memory signature = _signed(authorization, escrow.grantNonce(_terms(), SALT));
        escrow.depositAndApproveWithAuthorization(authorization, _terms(), SALT, signature);
        assertEq(grantOf(address(wallet)).budget, 80, "its grant");
    }
}
