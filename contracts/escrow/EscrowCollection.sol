// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {GrantSlot, GrantSlots} from "../GrantSlot.sol";
import {TypedData} from "../TypedData.sol";
import {VoucherRow} from "../VoucherRow.sol";
import {IEscrow} from "../interfaces/IEscrow.sol";
import {EscrowState} from "./EscrowState.sol";

/// @title How providers collect what they earned
abstract contract EscrowCollection is EscrowState {
    uint256 private constant SETTLE_ROW_BYTES = 32;
    /// @dev Enough for a P-256 signature that is checked in Solidity.
    uint256 private constant SIGNATURE_GAS_MAX = 500_000;

    /// @inheritdoc IEscrow
    function consume(address payer, uint256 price) external {
        require(price != 0, PriceZero());
        Place storage place = grants[msg.sender][METERED][payer];
        GrantSlot slot = place.slot;
        require(slot.expiry() != 0, GrantMissing(payer, msg.sender, METERED));
        require(price <= slot.price(), PriceAboveCap(price, slot.price()));
        require(price <= slot.budget(), BudgetTooLow(slot.budget(), price));

        // Checked: a grant that is full cannot be charged.
        uint64 claimed = uint64(slot.spent()) + uint64(price);
        uint32 calls = uint32(slot.calls()) + 1;
        uint256 usage = _charge(place, slot, claimed, calls);
        emit Consumed(payer, msg.sender, usage, _credit(msg.sender, price));
    }

    // ------------------------------------------------------------------ settle

    /// @inheritdoc IEscrow
    function settle(bytes calldata rows, bytes32 usageRoot) external {
        _requireRows(rows.length, SETTLE_ROW_BYTES);
        mapping(address payer => Place) storage metered = grants[msg.sender][METERED];

        uint256 paid = 0;
        for (uint256 index = 0; rows.length != 0; ) {
            uint256 row = uint256(bytes32(rows[:32]));
            // Cannot overflow: all that is paid was held, and what is held fits 64 bits.
            unchecked {
                paid += _settleRow(metered, row, index++);
            }
            rows = rows[SETTLE_ROW_BYTES:];
        }

        _creditBatch(paid, usageRoot);
    }

    /// @dev Pays what one row asks for, or emits why not. Never reverts, whatever the row says.
    /// @return paid What the provider is to be credited with.
    function _settleRow(
        mapping(address payer => Place) storage metered,
        uint256 row,
        uint256 index
    ) private returns (uint256 paid) {
        address payer = address(uint160(row >> 96));
        uint256 claimed = uint64(row >> 32);
        uint256 calls = uint32(row);

        Place storage place = metered[payer];
        GrantSlot slot = place.slot;
        uint256 usage = _charge(place, slot, claimed, calls);
        if (usage == 0) {
            emit Skipped(payer, msg.sender, index, _skipReason(slot, claimed, calls));
        } else {
            emit Settled(payer, msg.sender, usage);
        }
        return GrantSlots.paidOf(usage);
    }

    // ------------------------------------------------------------------ redeem

    /// @inheritdoc IEscrow
    function redeem(bytes calldata rows, bytes32 usageRoot) external {
        _requireRows(rows.length, VoucherRow.BYTES);
        bytes32 domain = _domainSeparatorV4();
        mapping(address signer => mapping(address payer => Place)) storage lanes = grants[
            msg.sender
        ];

        uint256 paid = 0;
        for (uint256 index = 0; rows.length != 0; ) {
            (address payer, uint256 numbers, address signer) = VoucherRow.read(
                rows,
                domain,
                msg.sender
            );
            // Cannot overflow: all that is paid was held, and what is held fits 64 bits.
            unchecked {
                paid += _redeem(lanes[signer][payer], payer, signer, numbers, index++);
            }
            rows = rows[VoucherRow.BYTES:];
        }

        _creditBatch(paid, usageRoot);
    }

    /// @inheritdoc IEscrow
    function redeemContract(
        ContractVoucher[] calldata vouchers,
        bytes32 usageRoot
    ) external {
        _requireRows(vouchers.length, 1);
        uint256 paid = 0;
        for (uint256 i = 0; i < vouchers.length; ++i) {
            ContractVoucher calldata voucher = vouchers[i];
            uint256 numbers = _numbersOf(voucher);
            address signer = _isSigned(voucher) ? voucher.signer : METERED;
            Place storage place = grants[msg.sender][signer][voucher.payer];
            paid += _redeem(place, voucher.payer, signer, numbers, i);
        }
        _creditBatch(paid, usageRoot);
    }

    function _numbersOf(ContractVoucher calldata voucher) private pure returns (uint256) {
        return
            (uint256(voucher.claimed) << 192) |
            (uint256(voucher.maxAmount) << 128) |
            (uint256(voucher.calls) << 96) |
            (uint256(voucher.maxCalls) << 64) |
            (uint256(voucher.epoch) << 56);
    }

    /// @dev In a call of its own, so that a signer that reverts, burns its gas or answers too much
    /// costs its own row only.
    function _isSigned(ContractVoucher calldata voucher) private view returns (bool) {
        bytes32 digest = _hashTypedDataV4(
            TypedData.hash(
                TypedData.Voucher({
                    payer: voucher.payer,
                    provider: msg.sender,
                    maxAmount: voucher.maxAmount,
                    maxCalls: voucher.maxCalls,
                    epoch: voucher.epoch
                })
            )
        );
        try
            this.isSignedBy{gas: SIGNATURE_GAS_MAX}(voucher.signer, digest, voucher.signature)
        returns (bool signed) {
            return signed;
        } catch {
            return false;
        }
    }

    /// @dev Pays what a voucher promised, or emits why not; see `_settleRow`.
    /// @param signer Zero if nobody signed it.
    /// @param numbers See `VoucherRow.read`.
    function _redeem(
        Place storage place,
        address payer,
        address signer,
        uint256 numbers,
        uint256 index
    ) private returns (uint256 paid) {
        GrantSlot slot = place.slot;
        uint256 claimed = numbers >> 192;
        uint256 calls = uint32(numbers >> 96);
        uint256 usage = 0;
        if (
            signer != METERED &&
            uint8(numbers >> 56) == slot.epoch() &&
            claimed <= uint64(numbers >> 128) &&
            calls <= uint32(numbers >> 64)
        ) {
            usage = _charge(place, slot, claimed, calls);
        }

        if (usage == 0) {
            emit Skipped(payer, msg.sender, index, _redeemSkipReason(slot, signer, numbers));
        } else if (signer == payer) {
            emit Redeemed(payer, msg.sender, usage);
        } else {
            emit RedeemedBySession(payer, msg.sender, signer, usage);
        }
        return GrantSlots.paidOf(usage);
    }

    function _redeemSkipReason(
        GrantSlot slot,
        address signer,
        uint256 numbers
    ) private pure returns (SkipReason) {
        uint256 claimed = numbers >> 192;
        uint256 calls = uint32(numbers >> 96);
        if (signer == METERED) return SkipReason.SignatureInvalid;
        if (slot.expiry() == 0) return SkipReason.GrantMissing;
        if (uint8(numbers >> 56) != slot.epoch()) return SkipReason.EpochOther;
        if (claimed > uint64(numbers >> 128)) return SkipReason.AboveVoucher;
        if (calls > uint32(numbers >> 64)) return SkipReason.AboveVoucher;
        return _skipReason(slot, claimed, calls);
    }

    // ------------------------------------------------------------------- rules

    /// @dev Charges a grant with what it was not charged with before, if it may be and as far as
    /// the budget goes. All that a batch does a thousand times is here: the compiler inlines what
    /// has one caller.
    /// @return usage As in `IEscrow.Settled`; zero if nothing was charged.
    function _charge(
        Place storage place,
        GrantSlot slot,
        uint256 claimed,
        uint256 calls
    ) private returns (uint256 usage) {
        uint256 spent = slot.spent();
        uint256 callsBefore = slot.calls();
        if (claimed <= spent) return 0;
        if (calls <= callsBefore) return 0;
        // None of this overflows: the numbers have 64, 40 and 32 bits.
        unchecked {
            uint256 due = claimed - spent;
            uint256 newCalls = calls - callsBefore;
            // A closed grant has the price 0.
            if (due > slot.price() * newCalls) return 0;
            if (due > slot.budget()) {
                (due, newCalls) = _affordable(slot, due, newCalls);
                if (due == 0) return 0;
            }
            // `spent` stays at or below `claimed`, and the grant's calls at or below `calls`.
            slot = slot.charge(due, newCalls);
            place.slot = slot;
            return slot.usage(due);
        }
    }

    /// @dev As much of `due` as the budget covers, and the calls that this pays for. The rest must
    /// stay within the price of the calls that are left, or no top-up could ever pay it; where the
    /// whole budget would break that, only full prices are paid.
    function _affordable(
        GrantSlot slot,
        uint256 due,
        uint256 newCalls
    ) private pure returns (uint256 paid, uint256 paidCalls) {
        uint256 price = slot.price();
        paid = slot.budget();
        unchecked {
            // `paid < due <= price * newCalls`, so `paidCalls <= newCalls`.
            paidCalls = (paid + price - 1) / price;
            if (due - paid > price * (newCalls - paidCalls)) {
                paidCalls = paid / price;
                paid = paidCalls * price;
            }
        }
    }

    function _skipReason(
        GrantSlot slot,
        uint256 claimed,
        uint256 calls
    ) private pure returns (SkipReason) {
        if (slot.expiry() == 0) return SkipReason.GrantMissing;
        if (claimed <= slot.spent()) return SkipReason.NothingDue;
        if (calls <= slot.calls()) return SkipReason.PriceAboveCap;
        uint256 cap = slot.price() * (calls - slot.calls());
        return claimed - slot.spent() > cap ? SkipReason.PriceAboveCap : SkipReason.BudgetTooLow;
    }

    function _creditBatch(uint256 paid, bytes32 usageRoot) private {
        emit BatchSettled(msg.sender, uint64(paid), _credit(msg.sender, paid), usageRoot);
    }

    function _requireRows(uint256 length, uint256 rowLength) private pure {
        require(length != 0 && length % rowLength == 0, RowsMalformed(length));
    }
}
