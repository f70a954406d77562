// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../contracts/DevUsdc.sol";
import {Escrow} from "../../contracts/Escrow.sol";
import {TypedData} from "../../contracts/TypedData.sol";
import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowVoucherHandler} from "./support/EscrowVoucherHandler.sol";
import {newDevUsdc, newEscrow} from "./support/Published.sol";
import {Signing} from "./support/Signing.sol";
import {Test} from "./support/Test.sol";

/// @title What holds after any sequence of actions of anybody
/// @dev 256,000 actions in each run of the tests: two times 2,000 sequences of 64. Free balances are
/// compared after each action, all grants and what is owed after each eighth; the costly invariants
/// have twelve sequences each. A seed is printed; FUZZ_SEED
/// tries another. To run this file alone, name the handler's as well: the runner calls only what it compiled.
contract EscrowInvariantsTest is Test, Signing {
    DevUsdc private usdc;
    Escrow private escrow;
    EscrowVoucherHandler private handler;

    function setUp() public {
        vm.warp(NOW);
        usdc = newDevUsdc();
        escrow = newEscrow(usdc);
        handler = new EscrowVoucherHandler(escrow, usdc);
    }

    /// @dev Read by the test runner: it calls the actions of these and nothing else.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @notice I-2 to I-7, I-9, I-11 to I-13: the handler compares after each action.
    /// hardhat-config: invariant.runs = 2000
    function invariant_EveryActionDoesWhatTheModelDoes() public view {
        vm.assertEq(handler.violation(), "", "violation");
    }

    /// @notice I-1, after each eighth action: what is lost stays lost.
    /// hardhat-config: invariant.runs = 2000
    function invariant_EverythingOwedIsThere() public view {
        if (handler.actions() % 8 != 0) return;
        uint256 owed = handler.budgets();
        for (uint256 i = 0; i < 4; ++i) owed += escrow.balanceOf(handler.accounts(i));
        assertEq(escrow.totalHeld(), owed, "held is what is owed");
        assertEq(usdc.balanceOf(address(escrow)), owed + handler.donated(), "solvent");
    }

    function _budget(uint256 where) private view returns (uint256) {
        (address payer, address provider, address signer) = handler.placeOf(where);
        return escrow.grantOf(payer, provider, signer).budget;
    }

    /// @notice I-8: all grants are collected at once, metered ones and vouchers, and everybody
    /// withdraws.
    /// hardhat-config: invariant.runs = 12
    function invariant_AllGrantsCanBeCollectedInFullAtOnce() public {
        for (uint256 i = 0; i < 2; ++i) _collect(handler.providers(i), false);
        _withdrawEverything();
        _assertNothingIsLeft();
    }

    /// @notice I-8 in another order: backwards, and a withdrawal after each provider.
    /// hardhat-config: invariant.runs = 12
    function invariant_AllGrantsCanBeCollectedInFullInAnotherOrder() public {
        for (uint256 i = 2; i > 0; --i) {
            _collect(handler.providers(i - 1), true);
            _withdrawEverything();
        }
        _assertNothingIsLeft();
    }

    function _collect(address provider, bool backwards) private {
        bytes memory metered = "";
        bytes memory vouchers = "";
        uint256 expected = escrow.balanceOf(provider);
        uint256 lanes = handler.laneCount();
        for (uint256 i = 0; i < lanes; ++i) {
            uint256 where = backwards ? lanes - 1 - i : i;
            (, address of_, ) = handler.placeOf(where);
            if (of_ != provider) continue;
            expected += _budget(where);
            if (handler.keyAt(where) == 0) metered = bytes.concat(metered, _meteredRow(where));
            else vouchers = bytes.concat(vouchers, _voucherRow(where));
        }
        vm.startPrank(provider);
        if (backwards) escrow.redeem(vouchers, "root");
        escrow.settle(metered, "root");
        if (!backwards) escrow.redeem(vouchers, "root");
        vm.stopPrank();
        assertEq(escrow.balanceOf(provider), expected, "I-8: collected in full");
    }

    function _wholeBudget(
        uint256 where
    ) private view returns (address payer, uint256 amount, uint256 calls, uint8 epoch) {
        address provider;
        address signer;
        (payer, provider, signer) = handler.placeOf(where);
        IEscrow.Grant memory grant = escrow.grantOf(payer, provider, signer);
        uint256 newCalls = grant.price == 0 ? 0 : (grant.budget + grant.price - 1) / grant.price;
        return (payer, grant.spent + grant.budget, grant.calls + newCalls, grant.epoch);
    }

    function _meteredRow(uint256 where) private view returns (bytes memory) {
        (address payer, uint256 amount, uint256 calls, ) = _wholeBudget(where);
        return abi.encodePacked(payer, uint64(amount), uint32(calls));
    }

    function _voucherRow(uint256 where) private view returns (bytes memory) {
        (address payer, uint256 amount, uint256 calls, uint8 epoch) = _wholeBudget(where);
        (, address provider, ) = handler.placeOf(where);
        TypedData.Voucher memory voucher = TypedData.Voucher({
            payer: payer,
            provider: provider,
            maxAmount: uint64(amount),
            maxCalls: uint32(calls),
            epoch: epoch
        });
        bytes memory signature = signVoucher(escrow, voucher, handler.keyAt(where));
        return redeemRow(voucher, amount, calls, signature);
    }

    function _withdrawEverything() private {
        for (uint256 i = 0; i < 4; ++i) {
            address owner = handler.accounts(i);
            uint256 balance = escrow.balanceOf(owner);
            if (balance == 0) continue;
            vm.prank(owner);
            escrow.withdraw(balance);
        }
    }

    function _assertNothingIsLeft() private view {
        assertEq(escrow.totalHeld(), 0, "held");
        assertEq(usdc.balanceOf(address(escrow)), handler.donated(), "but donations");
    }

    /// @notice I-10: payers alone get all of it back within the longest notice.
    /// hardhat-config: invariant.runs = 12
    function invariant_PayersAloneRecoverEverything() public {
        uint256 last = 0;
        for (uint256 where = 0; where < handler.laneCount(); ++where) {
            uint256 from = _revoke(where);
            if (from > last) last = from;
        }
        vm.warp(last);
        for (uint256 where = 0; where < handler.laneCount(); ++where) _reclaim(where);
        _withdrawEverything();
        assertEq(escrow.totalHeld(), 0, "nothing is left");
        assertEq(usdc.balanceOf(address(escrow)), handler.donated(), "but donations");
    }

    /// @return from When it may be reclaimed: at most 255 hours from now or from its end.
    function _revoke(uint256 where) private returns (uint256 from) {
        (address payer, address provider, address signer) = handler.placeOf(where);
        IEscrow.Grant memory grant = escrow.grantOf(payer, provider, signer);
        if (grant.expiry == 0) return 0;
        if (grant.expiry > block.timestamp) {
            vm.prank(payer);
            escrow.revoke(provider, signer);
        }
        grant = escrow.grantOf(payer, provider, signer);
        return grant.expiry + grant.notice * uint256(1 hours);
    }

    function _reclaim(uint256 where) private {
        (address payer, address provider, address signer) = handler.placeOf(where);
        IEscrow.Grant memory grant = escrow.grantOf(payer, provider, signer);
        if (grant.expiry == 0) return;
        vm.prank(payer);
        escrow.reclaim(provider, signer);
    }

    // ------------------------------------------------- the invariants are not empty

    /// @notice The actions above go through every branch: the invariants hold of something.
    function test_TheActionsReachEveryBranchOfTheEscrow() public {
        uint256 seed = 7;
        for (uint256 step = 0; step < 1_200; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(step % 22, seed);
        }
        vm.assertEq(handler.violation(), "", "violation");
        _assertReached(_byPayers());
        _assertReached(_byOthers());
        _assertReached(_byProviders());
        invariant_EverythingOwedIsThere();
        invariant_AllGrantsCanBeCollectedInFullAtOnce();
    }

    function _assertReached(string[] memory branches) private view {
        for (uint256 i = 0; i < branches.length; ++i) {
            vm.assertTrue(
                handler.reached(branches[i]) >= 3,
                string.concat("reached: ", branches[i])
            );
        }
    }

    function _byPayers() private pure returns (string[] memory branches) {
        branches = new string[](12);
        branches[0] = "deposit";
        branches[1] = "withdraw";
        branches[2] = "donate";
        branches[3] = "overdraw";
        branches[4] = "approve: opens";
        branches[5] = "approve: improves";
        branches[6] = "approve: short form";
        branches[7] = "cut";
        branches[8] = "revoke";
        branches[9] = "reclaim: too early";
        branches[10] = "reclaim";
        branches[11] = "time passes";
    }

    function _byOthers() private pure returns (string[] memory branches) {
        branches = new string[](12);
        branches[0] = "deposit: for somebody";
        branches[1] = "deposit: permit";
        branches[2] = "deposit: permit, front-run";
        branches[3] = "deposit: approves";
        branches[4] = "deposit: authorised";
        branches[5] = "approve: signed";
        branches[6] = "withdraw: signed";
        branches[7] = "withdraw: elsewhere";
        branches[8] = "trial: used";
        branches[9] = "trial: refused";
        branches[10] = "rate";
        branches[11] = "rate: refused";
    }

    function _byProviders() private pure returns (string[] memory branches) {
        branches = new string[](22);
        branches[0] = "consume";
        branches[1] = "settle: replay";
        branches[2] = "redeem: replay";
        branches[3] = "settle: no grant";
        branches[4] = "settle: nothing due";
        branches[5] = "settle: above the price";
        branches[6] = "settle: no budget";
        branches[7] = "settle: in part";
        branches[8] = "settle: paid";
        branches[9] = "redeem: no grant";
        branches[10] = "redeem: nothing due";
        branches[11] = "redeem: above the price";
        branches[12] = "redeem: no budget";
        branches[13] = "redeem: in part";
        branches[14] = "redeem: paid";
        branches[15] = "redeem: not signed";
        branches[16] = "redeem: another epoch";
        branches[17] = "redeem: above the voucher";
        branches[18] = "slowly: paid";
        branches[19] = "slowly: not signed";
        branches[20] = "slowly: another epoch";
        branches[21] = "slowly: above the voucher";
    }

    function _act(uint256 action, uint256 seed) private {
        uint256 a = seed >> 16;
        uint256 b = seed >> 80;
        uint256 c = seed >> 144;
        if (action == 0) handler.deposit(a, b);
        if (action == 1) handler.withdraw(a, b);
        if (action == 2) handler.donate(a);
        if (action == 3) handler.overdraw(a, b);
        if (action == 4) handler.approve(a, b, c, seed);
        if (action == 5) handler.approveShort(a, b);
        if (action == 6) handler.cut(a, b);
        if (action == 7) handler.revoke(a);
        if (action == 8) handler.reclaim(a);
        if (action == 9) handler.pass(a);
        if (action == 10) handler.consume(a, b);
        if (action == 11) handler.settle(a, b, c);
        if (action == 12) handler.depositFor(a, b);
        if (action == 13) handler.permitted(a, b, c % 2 == 0);
        if (action == 14) handler.authorised(a, b, c, seed % 2 == 0);
        if (action == 15) handler.approveSigned(a, b);
        if (action == 16) handler.withdrawSigned(a, b, c % 2 == 0);
        if (action == 17) handler.trial(a, b, c);
        if (action == 18) handler.rate(a);
        if (action == 19) handler.redeemSlowly(a, seed);
        if (action > 19) handler.redeem(a, b, seed);
    }
}
