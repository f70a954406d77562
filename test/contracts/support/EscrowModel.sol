// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {TypedData} from "../../../contracts/TypedData.sol";

/// @title The escrow once more, as plainly as it can be said: wide numbers, no packing, no tricks
/// @dev Tests do everything to both and compare. What the rule of a partial payment means is found
/// here by trying amounts, not by a formula.
contract EscrowModel {
    struct Lane {
        uint256 spent;
        uint256 budget;
        uint256 price;
        uint256 calls;
        uint256 expiry;
        uint256 notice;
        uint256 epoch;
    }

    enum Outcome {
        GrantMissing,
        NothingDue,
        PriceAboveCap,
        BudgetTooLow,
        SignatureInvalid,
        EpochOther,
        AboveVoucher,
        PaidInPart,
        Paid
    }

    mapping(address account => uint256) public free;
    mapping(address payer => mapping(address provider => mapping(address signer => Lane)))
        internal lanes;

    function laneOf(
        address payer,
        address provider,
        address signer
    ) external view returns (Lane memory) {
        return lanes[payer][provider][signer];
    }

    function _modelApprove(
        address payer,
        address provider,
        address signer,
        Lane memory wanted
    ) internal {
        Lane storage lane = lanes[payer][provider][signer];
        free[payer] -= wanted.budget - lane.budget;
        lane.budget = wanted.budget;
        lane.price = wanted.price;
        lane.expiry = wanted.expiry;
        lane.notice = wanted.notice;
    }

    function _modelReclaim(address payer, address provider, address signer) internal {
        Lane storage lane = lanes[payer][provider][signer];
        free[payer] += lane.budget;
        lane.budget = lane.price = lane.expiry = lane.notice = 0;
        lane.epoch += 1;
    }

    function _modelCharge(
        address payer,
        address provider,
        address signer,
        uint256 paid,
        uint256 newCalls
    ) internal {
        Lane storage lane = lanes[payer][provider][signer];
        lane.budget -= paid;
        lane.spent += paid;
        lane.calls += newCalls;
        free[provider] += paid;
    }

    function _modelRow(
        address payer,
        address provider,
        address signer,
        uint256 amount,
        uint256 calls
    ) internal returns (Outcome outcome, uint256 paid) {
        Lane memory lane = lanes[payer][provider][signer];
        if (lane.expiry == 0) return (Outcome.GrantMissing, 0);
        if (amount <= lane.spent) return (Outcome.NothingDue, 0);
        if (calls <= lane.calls) return (Outcome.PriceAboveCap, 0);
        uint256 due = amount - lane.spent;
        uint256 newCalls = calls - lane.calls;
        if (due > lane.price * newCalls) return (Outcome.PriceAboveCap, 0);
        if (due <= lane.budget) {
            _modelCharge(payer, provider, signer, due, newCalls);
            return (Outcome.Paid, due);
        }
        for (paid = lane.budget; paid != 0; --paid) {
            uint256 paidCalls = (paid + lane.price - 1) / lane.price;
            if (due - paid > lane.price * (newCalls - paidCalls)) continue;
            _modelCharge(payer, provider, signer, paid, paidCalls);
            return (Outcome.PaidInPart, paid);
        }
        return (Outcome.BudgetTooLow, 0);
    }

    function _modelVoucher(
        TypedData.Voucher memory voucher,
        address signer,
        uint256 amount,
        uint256 calls
    ) internal returns (Outcome outcome, uint256 paid) {
        if (signer == address(0)) return (Outcome.SignatureInvalid, 0);
        Lane memory lane = lanes[voucher.payer][voucher.provider][signer];
        if (lane.expiry == 0) return (Outcome.GrantMissing, 0);
        if (voucher.epoch != lane.epoch) return (Outcome.EpochOther, 0);
        if (amount > voucher.maxAmount || calls > voucher.maxCalls) {
            return (Outcome.AboveVoucher, 0);
        }
        return _modelRow(voucher.payer, voucher.provider, signer, amount, calls);
    }
}
