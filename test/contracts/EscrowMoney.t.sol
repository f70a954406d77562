// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {
    ReentrancyGuardTransient
} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Escrow} from "../../contracts/Escrow.sol";
import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowTest} from "./support/EscrowTest.sol";
import {newEscrow} from "./support/Published.sol";
import {FaultyToken} from "./support/Tokens.sol";

/// @title Deposit and withdraw, with good and with bad tokens
contract EscrowMoneyTest is EscrowTest {
    FaultyToken private bad;
    Escrow private badEscrow;

    function setUp() public override {
        super.setUp();
        bad = new FaultyToken();
        badEscrow = newEscrow(bad);
        bad.mint(payer, 1_000);
        vm.startPrank(payer);
        bad.approve(address(badEscrow), 1_000);
        badEscrow.deposit(400);
        vm.stopPrank();
    }

    function test_AnEscrowNeedsAToken() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.TokenMissing.selector, stranger));
        newEscrow(IERC20(stranger));
    }

    function testFuzz_ADepositIsFreeAndComesBackWhole(uint64 amount, uint64 part) public {
        vm.assume(amount != 0);
        uint256 taken = bound(part, 1, amount);
        usdc.mint(payer, amount);
        vm.startPrank(payer);
        usdc.approve(address(escrow), amount);

        vm.expectEmit(address(escrow));
        emit IEscrow.Deposited(payer, amount, amount);
        escrow.deposit(amount);
        assertEq(escrow.balanceOf(payer), amount, "free");
        assertEq(escrow.totalHeld(), amount, "held");

        vm.expectEmit(address(escrow));
        emit IEscrow.Withdrawn(payer, uint64(taken), uint64(amount - taken));
        escrow.withdraw(taken);
        assertEq(escrow.balanceOf(payer), amount - taken, "free after");
        assertEq(escrow.totalHeld(), amount - taken, "held after");
        assertEq(usdc.balanceOf(payer), taken, "in the wallet");
    }

    function test_NothingIsNoAmount() public {
        expectRevert(IEscrow.AmountZero.selector);
        escrow.deposit(0);
        expectRevert(IEscrow.AmountZero.selector);
        escrow.withdraw(0);
    }

    function test_AllDepositsTogetherFit64Bits() public {
        fund(payer, 10);
        usdc.mint(stranger, type(uint256).max - 10);
        vm.startPrank(stranger);
        usdc.approve(address(escrow), type(uint256).max);
        uint256 room = type(uint64).max - 10;

        expectRevert(IEscrow.OutOfRange.selector, room + 1, room);
        escrow.deposit(room + 1);
        expectRevert(IEscrow.OutOfRange.selector, type(uint256).max, room);
        escrow.deposit(type(uint256).max);
        escrow.deposit(room);
        assertEq(escrow.totalHeld(), type(uint64).max, "full");
        expectRevert(IEscrow.OutOfRange.selector, 1, 0);
        escrow.deposit(1);
    }

    function test_NobodyWithdrawsWhatIsNotFree() public {
        grantTo(payer, 10, 100);
        fund(payer, 5);
        vm.prank(payer);
        expectRevert(IEscrow.BalanceTooLow.selector, 5, 6);
        escrow.withdraw(6);
        vm.prank(stranger);
        expectRevert(IEscrow.BalanceTooLow.selector, 0, 1);
        escrow.withdraw(1);
        vm.prank(payer);
        expectRevert(IEscrow.BalanceTooLow.selector, 5, uint256(type(uint64).max) + 6);
        escrow.withdraw(uint256(type(uint64).max) + 6);
    }

    function test_ADonationCreditsNobody() public {
        fund(payer, 5);
        usdc.mint(address(escrow), 1_000);
        assertEq(escrow.totalHeld(), 5, "held");
        fund(payer, 7);
        assertEq(escrow.balanceOf(payer), 12, "free");
    }

    // -------------------------------------------------------------- bad tokens

    function _expectMovedOther(uint256 moved, uint256 wanted) private {
        expectRevert(IEscrow.TokenMovedOther.selector, moved, wanted);
    }

    function test_AFeeOnTransferIsRefusedBothWays() public {
        bad.setFault(FaultyToken.Fault.Fee);
        vm.prank(payer);
        _expectMovedOther(9, 10);
        badEscrow.deposit(10);
        assertEq(badEscrow.balanceOf(payer), 400, "as before");

        // The fee of this token is on the receiver: a withdrawal moves what it should.
        vm.prank(payer);
        badEscrow.withdraw(10);
        assertEq(badEscrow.totalHeld(), bad.balanceOf(address(badEscrow)), "solvent");
    }

    function test_ATokenThatGivesTooMuchIsRefused() public {
        bad.setFault(FaultyToken.Fault.Gives);
        vm.prank(payer);
        _expectMovedOther(11, 10);
        badEscrow.deposit(10);
    }

    function test_ATokenThatOnlySaysThatItMovedIsRefused() public {
        bad.setFault(FaultyToken.Fault.Lies);
        vm.startPrank(payer);
        _expectMovedOther(0, 10);
        badEscrow.deposit(10);
        _expectMovedOther(0, 10);
        badEscrow.withdraw(10);
        assertEq(badEscrow.balanceOf(payer), 400, "as before");
    }

    function test_ATokenThatReturnsFalseIsRefused() public {
        bad.setFault(FaultyToken.Fault.ReturnsFalse);
        bytes memory refusal = abi.encodeWithSelector(
            SafeERC20.SafeERC20FailedOperation.selector,
            address(bad)
        );
        vm.startPrank(payer);
        vm.expectRevert(refusal);
        badEscrow.deposit(10);
        vm.expectRevert(refusal);
        badEscrow.withdraw(10);
        assertEq(badEscrow.balanceOf(payer), 400, "as before");
    }

    function test_SettlementsGoOnWhileTheTokenIsPaused() public {
        vm.prank(payer);
        badEscrow.approve(provider, 10, 100);
        bad.setFault(FaultyToken.Fault.Paused);
        vm.prank(provider);
        badEscrow.settle(row(payer, 30, 3), 0);
        assertEq(badEscrow.balanceOf(provider), 30, "collected");
        vm.prank(provider);
        vm.expectRevert(FaultyToken.Refused.selector);
        badEscrow.withdraw(30);
    }

    function test_ABlacklistedPayerTrapsNobodyElse() public {
        vm.prank(payer);
        badEscrow.approve(provider, 10, 100);
        bad.blacklist(payer);
        vm.prank(provider);
        badEscrow.settle(row(payer, 30, 3), 0);
        vm.prank(provider);
        badEscrow.withdraw(30);
        assertEq(bad.balanceOf(provider), 30, "paid out");
        vm.prank(payer);
        vm.expectRevert(FaultyToken.Refused.selector);
        badEscrow.withdraw(1);
        assertEq(badEscrow.balanceOf(payer), 300, "still its own");
    }

    // -------------------------------------------------------------- reentrancy

    function test_ATokenCannotEnterTheMoneyFunctionsAgain() public {
        IEscrow.Authorization memory authorization;
        IEscrow.Terms memory terms;
        bytes[9] memory calls = [
            abi.encodeCall(IEscrow.deposit, (1)),
            abi.encodeCall(IEscrow.depositFor, (payer, 1)),
            abi.encodeCall(IEscrow.depositWithPermit, (1, 0, "")),
            abi.encodeCall(IEscrow.depositWithAuthorization, (authorization, 0, "")),
            abi.encodeCall(
                IEscrow.depositAndApproveWithAuthorization,
                (authorization, terms, 0, "")
            ),
            abi.encodeCall(IEscrow.withdraw, (1)),
            abi.encodeCall(IEscrow.withdraw, (400)),
            abi.encodeCall(IEscrow.withdrawTo, (payer, 1)),
            abi.encodeCall(IEscrow.withdrawBySig, (payer, payer, 1, NOW, ""))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            bad.setHook(address(badEscrow), calls[i]);
            vm.prank(payer);
            badEscrow.deposit(10);
            _assertReentryRefused();

            bad.setHook(address(badEscrow), calls[i]);
            vm.prank(payer);
            badEscrow.depositFor(stranger, 1);
            _assertReentryRefused();

            bad.setHook(address(badEscrow), calls[i]);
            vm.prank(payer);
            badEscrow.depositWithPermit(1, 0, "");
            _assertReentryRefused();

            bad.setHook(address(badEscrow), calls[i]);
            vm.prank(payer);
            badEscrow.withdrawTo(payer, 1);
            _assertReentryRefused();

            bad.setHook(address(badEscrow), calls[i]);
            vm.prank(payer);
            badEscrow.withdraw(10);
            _assertReentryRefused();
        }
    }

    function _assertReentryRefused() private view {
        vm.assertTrue(!bad.hookSucceeded(), "entered again");
        vm.assertEq(
            bad.hookAnswer(),
            abi.encodeWithSelector(
                ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector
            ),
            "refused for this reason"
        );
    }

    function test_ASettlementInTheMiddleOfAWithdrawalFindsTrueBalances() public {
        vm.prank(address(bad));
        vm.expectRevert(
            abi.encodeWithSelector(
                IEscrow.GrantMissing.selector,
                payer,
                address(bad),
                METERED
            )
        );
        badEscrow.consume(payer, 1);

        // The token itself is a provider, and collects while it moves the payer's money.
        vm.prank(payer);
        badEscrow.approve(address(bad), 10, 100);
        bad.setHook(address(badEscrow), abi.encodeCall(IEscrow.consume, (payer, 10)));
        vm.prank(payer);
        badEscrow.withdraw(300);
        vm.assertTrue(bad.hookSucceeded(), "collected");
        assertEq(badEscrow.balanceOf(payer), 0, "payer");
        assertEq(badEscrow.balanceOf(address(bad)), 10, "provider");
        assertEq(badEscrow.totalHeld(), 100, "held");
        assertEq(bad.balanceOf(address(badEscrow)), 100, "solvent");
    }
}
