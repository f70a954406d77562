// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../../contracts/DevUsdc.sol";
import {Escrow} from "../../../contracts/Escrow.sol";
import {TypedData} from "../../../contracts/TypedData.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {newDevUsdc, newEscrow} from "./Published.sol";
import {Signing} from "./Signing.sol";
import {Test} from "./Test.sol";

/// @title An escrow with one payer and one provider, and short words for what they do
abstract contract EscrowTest is Test, Signing {
    address internal constant METERED = address(0);
    uint256 internal constant NOTICE = 48 hours;

    DevUsdc internal usdc;
    Escrow internal escrow;
    address internal payer = account("payer");
    address internal provider = account("provider");
    address internal session = account("session");
    address internal stranger = account("stranger");

    function setUp() public virtual {
        vm.warp(NOW);
        usdc = newDevUsdc();
        escrow = newEscrow(usdc);
    }

    function fund(address who, uint256 amount) internal {
        usdc.mint(who, amount);
        vm.startPrank(who);
        usdc.approve(address(escrow), amount);
        escrow.deposit(amount);
        vm.stopPrank();
    }

    /// @dev Brings `budget` and opens a metered grant with it.
    function grantTo(address who, uint256 price, uint256 budget) internal {
        if (budget != 0) fund(who, budget);
        vm.prank(who);
        escrow.approve(provider, price, budget);
    }

    /// @dev Brings `budget` and opens a grant for vouchers of `signer` with it.
    function grantSigned(address who, address signer, uint256 price, uint256 budget) internal {
        if (budget != 0) fund(who, budget);
        IEscrow.Terms memory terms = termsOf(price, budget, NOW + 9 days, 48);
        terms.signer = signer;
        vm.prank(who);
        escrow.approve(terms);
    }

    function grantOf(address who) internal view returns (IEscrow.Grant memory) {
        return escrow.grantOf(who, provider, METERED);
    }

    function termsOf(
        uint256 price,
        uint256 budget,
        uint256 expiry,
        uint256 notice
    ) internal view returns (IEscrow.Terms memory) {
        return
            IEscrow.Terms({
                provider: provider,
                signer: METERED,
                price: uint40(price),
                budget: uint64(budget),
                expiry: uint32(expiry),
                notice: uint8(notice)
            });
    }

    function row(
        address who,
        uint256 amount,
        uint256 calls
    ) internal pure returns (bytes memory) {
        return abi.encodePacked(who, uint64(amount), uint32(calls));
    }

    function settle(bytes memory rows) internal {
        vm.prank(provider);
        escrow.settle(rows, bytes32("root"));
    }

    function voucherOf(
        address who,
        uint256 maxAmount,
        uint256 maxCalls,
        uint256 epoch
    ) internal view returns (TypedData.Voucher memory) {
        return
            TypedData.Voucher({
                payer: who,
                provider: provider,
                maxAmount: uint64(maxAmount),
                maxCalls: uint32(maxCalls),
                epoch: uint8(epoch)
            });
    }

    /// @dev A row that claims all that a voucher of epoch 0 is for.
    function redeemRow(
        address who,
        string memory signer,
        uint256 amount,
        uint256 calls
    ) internal view returns (bytes memory) {
        TypedData.Voucher memory voucher = voucherOf(who, amount, calls, 0);
        return redeemRow(voucher, amount, calls, signVoucher(escrow, voucher, keyOf(signer)));
    }

    function redeem(bytes memory rows) internal {
        vm.prank(provider);
        escrow.redeem(rows, bytes32("root"));
    }

    /// @dev As `IEscrow.Settled` documents it.
    function usage(
        uint256 spent,
        uint256 budget,
        uint256 paid,
        uint256 calls
    ) internal pure returns (uint256) {
        return spent | (budget << 64) | (paid << 128) | (calls << 192);
    }

    function expectRevert(bytes4 selector) internal {
        vm.expectRevert(abi.encodeWithSelector(selector));
    }

    function expectRevert(bytes4 selector, uint256 a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function expectRevert(bytes4 selector, uint256 a, uint256 b) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a, b));
    }

    function assertGrant(
        address who,
        uint256 spent,
        uint256 budget,
        uint256 calls,
        string memory what
    ) internal view {
        IEscrow.Grant memory grant = grantOf(who);
        assertEq(grant.spent, spent, string.concat(what, ": spent"));
        assertEq(grant.budget, budget, string.concat(what, ": budget"));
        assertEq(grant.calls, calls, string.concat(what, ": calls"));
    }
}
