// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IEscrow} from "../interfaces/IEscrow.sol";
import {EscrowState} from "./EscrowState.sol";

/// @title Trial calls and ratings: they are counted and told, and no money moves
abstract contract EscrowTrials is EscrowState {
    uint256 private constant ROW_BYTES = 32;
    uint256 private constant SCORE_MAX = 100;

    /// @inheritdoc IEscrow
    function grantCredits(address user, uint64 calls) external {
        require(calls != 0, AmountZero());
        Credits storage place = credits[msg.sender][user];
        place.granted += calls;
        emit CreditsGranted(msg.sender, user, calls, place.granted, place.used);
    }

    /// @inheritdoc IEscrow
    function useCredits(bytes calldata rows) external {
        uint256 length = rows.length;
        require(length != 0 && length % ROW_BYTES == 0, RowsMalformed(length));
        for (uint256 start = 0; start < length; start += ROW_BYTES) {
            address user = address(bytes20(rows[start:]));
            uint256 used = uint96(uint256(bytes32(rows[start:])));
            _useCredits(user, used, start / ROW_BYTES);
        }
    }

    /// @inheritdoc IEscrow
    function creditsOf(address provider, address user) external view returns (Credits memory) {
        return credits[provider][user];
    }

    /// @inheritdoc IEscrow
    function rate(address provider, uint8 score, bytes32 receiptHash) external {
        rate(provider, METERED, score, receiptHash);
    }

    /// @inheritdoc IEscrow
    function rate(
        address provider,
        address signer,
        uint8 score,
        bytes32 receiptHash
    ) public {
        _requireAtMost(score, SCORE_MAX);
        Grant memory grant = grants[provider][signer][msg.sender].slot.unpack();
        require(grant.spent != 0, NothingSpent(msg.sender, provider, signer));
        emit Rated(
            msg.sender,
            provider,
            signer,
            score,
            receiptHash,
            grant.spent,
            grant.calls
        );
    }

    function _useCredits(address user, uint256 used, uint256 index) private {
        Credits storage place = credits[msg.sender][user];
        Credits memory before = place;
        if (used <= before.used) {
            emit Skipped(user, msg.sender, index, SkipReason.NothingDue);
        } else if (used > before.granted) {
            emit Skipped(user, msg.sender, index, SkipReason.CreditsTooLow);
        } else {
            place.used = uint64(used);
            emit CreditsUsed(msg.sender, user, before.granted, uint64(used));
        }
    }
}
