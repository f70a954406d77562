// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {TypedData} from "../TypedData.sol";
import {IEscrow} from "../interfaces/IEscrow.sol";
import {EscrowMoney} from "./EscrowMoney.sol";

/// @title What payers do: they reserve, and in time they take back
abstract contract EscrowGrants is EscrowMoney {
    uint256 private constant EXPIRY_SECONDS_DEFAULT = 365 days;
    uint256 private constant NOTICE_HOURS_DEFAULT = 48;

    // ----------------------------------------------------------------- approve

    /// @inheritdoc IEscrow
    function approve(address provider, uint256 pricePerRequest, uint256 budget) external {
        _requireAtMost(pricePerRequest, type(uint40).max);
        _requireAtMost(budget, type(uint64).max);
        uint256 expiry = block.timestamp + EXPIRY_SECONDS_DEFAULT;
        uint256 notice = NOTICE_HOURS_DEFAULT;
        _requireAtMost(expiry, type(uint32).max);

        Grant memory current = grants[provider][METERED][msg.sender].slot.unpack();
        _approve(
            msg.sender,
            Terms({
                provider: provider,
                signer: METERED,
                price: uint40(pricePerRequest),
                budget: uint64(budget),
                expiry: current.expiry > expiry ? current.expiry : uint32(expiry),
                notice: current.notice > notice ? current.notice : uint8(notice)
            })
        );
    }

    /// @inheritdoc IEscrow
    function approve(Terms calldata terms) external {
        _approve(msg.sender, terms);
    }

    /// @inheritdoc IEscrow
    function approveBySig(
        address payer,
        Terms calldata terms,
        uint256 deadline,
        bytes calldata signature
    ) external {
        _useSignature(
            payer,
            deadline,
            TypedData.hashApprove(payer, terms, nonces[payer], deadline),
            signature
        );
        _approve(payer, terms);
    }

    /// @inheritdoc IEscrow
    function depositAndApproveWithAuthorization(
        Authorization calldata authorization,
        Terms calldata terms,
        bytes32 salt,
        bytes calldata signature
    ) external nonReentrant {
        _receive(authorization, grantNonce(terms, salt), signature);
        _approve(authorization.from, terms);
    }

    /// @inheritdoc IEscrow
    function grantNonce(Terms calldata terms, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(terms, salt));
    }

    // ------------------------------------------------------------------- leave

    /// @inheritdoc IEscrow
    function revoke(address provider) external {
        revoke(provider, METERED);
    }

    /// @inheritdoc IEscrow
    function revoke(address provider, address signer) public {
        Grant memory grant = _openGrant(msg.sender, provider, signer);
        require(grant.expiry > block.timestamp, GrantEnded(grant.expiry));

        grant.expiry = uint32(block.timestamp);
        _setGrant(msg.sender, provider, signer, grant);

        emit Revoked(msg.sender, provider, signer, grant.expiry);
    }

    /// @inheritdoc IEscrow
    function reclaim(address provider) external {
        reclaim(provider, METERED);
    }

    /// @inheritdoc IEscrow
    function reclaim(address provider, address signer) public {
        Grant memory grant = _openGrant(msg.sender, provider, signer);
        uint256 reclaimableFrom = grant.expiry + grant.notice * uint256(1 hours);
        require(block.timestamp >= reclaimableFrom, NoticeRunning(reclaimableFrom));

        uint64 amount = grant.budget;
        uint64 balance = _credit(msg.sender, amount);
        grant.budget = 0;
        grant.price = 0;
        grant.expiry = 0;
        grant.notice = 0;
        grant.epoch += 1;
        _setGrant(msg.sender, provider, signer, grant);

        emit Reclaimed(msg.sender, provider, signer, amount, grant.epoch, balance);
    }

    // --------------------------------------------------------------- internals

    function _approve(address payer, Terms memory terms) private {
        require(terms.provider != address(0), ProviderZero());
        require(terms.price != 0, PriceZero());
        require(terms.expiry > block.timestamp, ExpiryPassed(terms.expiry));
        require(terms.notice != 0, NoticeZero());
        Grant memory grant = grants[terms.provider][terms.signer][payer].slot.unpack();
        _requireImproved(grant, terms);

        uint64 balance = _debit(payer, terms.budget - grant.budget);
        grant.price = terms.price;
        grant.budget = terms.budget;
        grant.expiry = terms.expiry;
        grant.notice = terms.notice;
        _setGrant(payer, terms.provider, terms.signer, grant);

        _emitApproved(payer, terms, grant, balance);
    }

    /// @dev Apart from `_approve`, because all of it together is too deep for the stack.
    function _emitApproved(
        address payer,
        Terms memory terms,
        Grant memory grant,
        uint64 balance
    ) private {
        emit Approved(
            payer,
            terms.provider,
            terms.signer,
            grant.price,
            grant.budget,
            grant.expiry,
            grant.notice,
            grant.epoch,
            grant.spent,
            grant.calls,
            balance
        );
    }

    /// @dev A closed grant may get any terms, but for the last epoch, which is never opened: it
    /// could not be left by raising the epoch. A closed grant's terms are all zero.
    function _requireImproved(Grant memory grant, Terms memory terms) private pure {
        require(grant.expiry != 0 || grant.epoch != type(uint8).max, EpochsExhausted());
        require(
            terms.price >= grant.price &&
                terms.budget >= grant.budget &&
                terms.expiry >= grant.expiry &&
                terms.notice >= grant.notice,
            TermsCut(grant)
        );
    }
}
