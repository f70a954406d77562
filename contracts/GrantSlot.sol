// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEscrow} from "./interfaces/IEscrow.sol";

/// @dev A grant as it lies in storage. Reading it once and writing it once is what makes a
/// settlement cheap; a Solidity struct in storage is read member by member.
/// `spent u64 | budget u64 | price u40 | calls u32 | expiry u32 | notice u8 | flags u8 | epoch u8`
type GrantSlot is uint256;

using GrantSlots for GrantSlot global;

/// @title The layout of a grant's slot; nobody else knows it
library GrantSlots {
    uint256 private constant BUDGET_BIT = 64;
    uint256 private constant PRICE_BIT = 128;
    uint256 private constant CALLS_BIT = 168;
    uint256 private constant EXPIRY_BIT = 200;
    uint256 private constant NOTICE_BIT = 232;
    uint256 private constant FLAGS_BIT = 240;
    uint256 private constant EPOCH_BIT = 248;

    function spent(GrantSlot slot) internal pure returns (uint256) {
        return uint64(GrantSlot.unwrap(slot));
    }

    function budget(GrantSlot slot) internal pure returns (uint256) {
        return uint64(GrantSlot.unwrap(slot) >> BUDGET_BIT);
    }

    function price(GrantSlot slot) internal pure returns (uint256) {
        return uint40(GrantSlot.unwrap(slot) >> PRICE_BIT);
    }

    function calls(GrantSlot slot) internal pure returns (uint256) {
        return uint32(GrantSlot.unwrap(slot) >> CALLS_BIT);
    }

    function expiry(GrantSlot slot) internal pure returns (uint256) {
        return uint32(GrantSlot.unwrap(slot) >> EXPIRY_BIT);
    }

    function epoch(GrantSlot slot) internal pure returns (uint256) {
        return GrantSlot.unwrap(slot) >> EPOCH_BIT;
    }

    /// @dev Moves `paid` from budget to spent and adds calls. The caller has checked that
    /// `paid <= budget` and that neither `spent` nor `calls` overflows its bits: then no sum
    /// reaches its neighbour.
    function charge(
        GrantSlot slot,
        uint256 paid,
        uint256 newCalls
    ) internal pure returns (GrantSlot) {
        unchecked {
            return
                GrantSlot.wrap(
                    GrantSlot.unwrap(slot) +
                        (newCalls << CALLS_BIT) +
                        paid -
                        (paid << BUDGET_BIT)
                );
        }
    }

    /// @dev The word of `IEscrow.Settled`: `spent u64 | budget u64 | paid u64 | calls u32`.
    function usage(GrantSlot slot, uint256 paid) internal pure returns (uint256) {
        return uint128(GrantSlot.unwrap(slot)) | (paid << 128) | (slot.calls() << 192);
    }

    function paidOf(uint256 usage_) internal pure returns (uint256) {
        return uint64(usage_ >> 128);
    }

    function unpack(GrantSlot slot) internal pure returns (IEscrow.Grant memory grant) {
        uint256 word = GrantSlot.unwrap(slot);
        grant.spent = uint64(word);
        grant.budget = uint64(word >> BUDGET_BIT);
        grant.price = uint40(word >> PRICE_BIT);
        grant.calls = uint32(word >> CALLS_BIT);
        grant.expiry = uint32(word >> EXPIRY_BIT);
        grant.notice = uint8(word >> NOTICE_BIT);
        grant.flags = uint8(word >> FLAGS_BIT);
        grant.epoch = uint8(word >> EPOCH_BIT);
    }

    function pack(IEscrow.Grant memory grant) internal pure returns (GrantSlot) {
        return
            GrantSlot.wrap(
                uint256(grant.spent) |
                    (uint256(grant.budget) << BUDGET_BIT) |
                    (uint256(grant.price) << PRICE_BIT) |
                    (uint256(grant.calls) << CALLS_BIT) |
                    (uint256(grant.expiry) << EXPIRY_BIT) |
                    (uint256(grant.notice) << NOTICE_BIT) |
                    (uint256(grant.flags) << FLAGS_BIT) |
                    (uint256(grant.epoch) << EPOCH_BIT)
            );
    }
}
