// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {
    ReentrancyGuardTransient
} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {GrantSlot, GrantSlots} from "./GrantSlot.sol";
import {TypedData} from "./TypedData.sol";
import {IEscrow} from "./interfaces/IEscrow.sol";

/// @title Escrow: reserves in grants, settles in batches
/// @dev Two rules carry all the others. (1) Free balances and budgets add up to `totalHeld`, which
/// fits 64 bits, so no sum of amounts overflows. (2) The token is called in `deposit` and
/// `withdraw` only, so nothing that a token does can stop a settlement.
contract Escrow is IEscrow, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev One slot with 192 bits to spare.
    struct Account {
        uint64 balance;
    }

    /// @dev A struct, so that a settlement finds the place of a grant once, to read and to write.
    struct Place {
        GrantSlot slot;
    }

    uint256 private constant ROW_BYTES = 32;
    uint256 private constant EXPIRY_SECONDS_DEFAULT = 365 days;
    uint256 private constant NOTICE_HOURS_DEFAULT = 48;
    /// @dev Of metered use: nobody signs it, the provider reports it.
    address private constant METERED = address(0);

    /// @inheritdoc IEscrow
    IERC20 public immutable token;

    mapping(address account => Account) private accounts;

    /// @dev The payer comes last, so that a batch hashes provider and signer once.
    mapping(address provider => mapping(address signer => mapping(address payer => Place)))
        private grants;

    /// @inheritdoc IEscrow
    uint64 public totalHeld;

    constructor(IERC20 token_) EIP712(TypedData.DOMAIN_NAME, TypedData.DOMAIN_VERSION) {
        require(address(token_).code.length != 0, TokenMissing(address(token_)));
        token = token_;
    }

    // ------------------------------------------------------------------- money

    /// @inheritdoc IEscrow
    function deposit(uint256 amount) external nonReentrant {
        require(amount != 0, AmountZero());
        uint256 room = type(uint64).max - totalHeld;
        require(amount <= room, OutOfRange(amount, room));

        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 moved = token.balanceOf(address(this)) - before;
        require(moved == amount, TokenMovedOther(moved, amount));

        totalHeld += uint64(amount);
        uint64 balance = accounts[msg.sender].balance + uint64(amount);
        accounts[msg.sender].balance = balance;
        emit Deposited(msg.sender, uint64(amount), balance);
    }

    /// @inheritdoc IEscrow
    function withdraw(uint256 amount) external nonReentrant {
        require(amount != 0, AmountZero());
        uint64 balance = _debit(msg.sender, amount);
        totalHeld -= uint64(amount);
        emit Withdrawn(msg.sender, uint64(amount), balance);

        uint256 before = token.balanceOf(address(this));
        token.safeTransfer(msg.sender, amount);
        uint256 moved = before - token.balanceOf(address(this));
        require(moved == amount, TokenMovedOther(moved, amount));
    }

    // ------------------------------------------------------------------ payers

    /// @inheritdoc IEscrow
    function approve(address provider, uint256 pricePerRequest, uint256 budget) external {
        _requireAtMost(pricePerRequest, type(uint40).max);
        _requireAtMost(budget, type(uint64).max);
        uint256 expiry = block.timestamp + EXPIRY_SECONDS_DEFAULT;
        uint256 notice = NOTICE_HOURS_DEFAULT;
        _requireAtMost(expiry, type(uint32).max);

        Grant memory current = grants[provider][METERED][msg.sender].slot.unpack();
        _approve(
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
        _approve(terms);
    }

    /// @inheritdoc IEscrow
    function revoke(address provider) external {
        revoke(provider, METERED);
    }

    /// @inheritdoc IEscrow
    function revoke(address provider, address signer) public {
        Grant memory grant = _openGrant(msg.sender, provider, signer);
        require(grant.expiry > block.timestamp, GrantEnded(grant.expiry));

        grant.expiry = uint32(block.timestamp);
        grants[provider][signer][msg.sender].slot = GrantSlots.pack(grant);

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
        grants[provider][signer][msg.sender].slot = GrantSlots.pack(grant);

        emit Reclaimed(msg.sender, provider, signer, amount, grant.epoch, balance);
    }

    // --------------------------------------------------------------- providers

    /// @inheritdoc IEscrow
    function consume(address payer, uint256 price) external {
        require(price != 0, PriceZero());
        Grant memory grant = _openGrant(payer, msg.sender, METERED);
        require(price <= grant.price, PriceAboveCap(price, grant.price));
        require(price <= grant.budget, BudgetTooLow(grant.budget, price));

        grant.budget -= uint64(price);
        grant.spent += uint64(price);
        grant.calls += 1;
        GrantSlot slot = GrantSlots.pack(grant);
        grants[msg.sender][METERED][payer].slot = slot;
        uint64 balance = _credit(msg.sender, price);

        emit Consumed(payer, msg.sender, slot.usage(price), balance);
    }

    /// @inheritdoc IEscrow
    function settle(bytes calldata rows, bytes32 usageRoot) external {
        uint256 length = rows.length;
        require(length != 0 && length % ROW_BYTES == 0, RowsMalformed(length));
        mapping(address payer => Place) storage metered = grants[msg.sender][METERED];

        uint256 paid = 0;
        for (uint256 start = 0; start < length; ) {
            uint256 row = uint256(bytes32(rows[start:]));
            // Cannot overflow: all that is paid was held, and what is held fits 64 bits.
            unchecked {
                paid += _settleRow(metered, row, start);
                start += ROW_BYTES;
            }
        }

        emit BatchSettled(msg.sender, uint64(paid), _credit(msg.sender, paid), usageRoot);
    }

    // ------------------------------------------------------------------- views

    /// @inheritdoc IEscrow
    function balanceOf(address account) external view returns (uint256) {
        return accounts[account].balance;
    }

    /// @inheritdoc IEscrow
    function allowance(
        address payer,
        address provider
    ) external view returns (uint256 pricePerRequest, uint256 budget) {
        GrantSlot slot = grants[provider][METERED][payer].slot;
        return (slot.price(), slot.budget());
    }

    /// @inheritdoc IEscrow
    function grantOf(
        address payer,
        address provider,
        address signer
    ) external view returns (Grant memory) {
        return grants[provider][signer][payer].slot.unpack();
    }

    /// @inheritdoc IEscrow
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    // --------------------------------------------------------------- internals

    function _approve(Terms memory terms) private {
        require(terms.provider != address(0), ProviderZero());
        require(terms.price != 0, PriceZero());
        require(terms.expiry > block.timestamp, ExpiryPassed(terms.expiry));
        require(terms.notice != 0, NoticeZero());
        Grant memory grant = grants[terms.provider][terms.signer][msg.sender].slot.unpack();
        _requireImproved(grant, terms);

        uint64 balance = _debit(msg.sender, terms.budget - grant.budget);
        grant.price = terms.price;
        grant.budget = terms.budget;
        grant.expiry = terms.expiry;
        grant.notice = terms.notice;
        grants[terms.provider][terms.signer][msg.sender].slot = GrantSlots.pack(grant);

        _emitApproved(terms, grant, balance);
    }

    /// @dev Apart from `_approve`, because all of it together is too deep for the stack.
    function _emitApproved(Terms memory terms, Grant memory grant, uint64 balance) private {
        emit Approved(
            msg.sender,
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

    /// @dev Pays what one row asks for, or emits why not. Never reverts, whatever the row says.
    /// @param start Where the row lies in its batch, in bytes.
    /// @return paid What the provider is to be credited with.
    function _settleRow(
        mapping(address payer => Place) storage metered,
        uint256 row,
        uint256 start
    ) private returns (uint256 paid) {
        address payer = address(uint160(row >> 96));
        uint256 claimed = uint64(row >> 32);
        uint256 calls = uint32(row);

        Place storage place = metered[payer];
        GrantSlot slot = place.slot;
        (uint256 due, uint256 newCalls) = _due(slot, claimed, calls);
        if (due > slot.budget()) (due, newCalls) = _affordable(slot, due, newCalls);

        if (due == 0) {
            SkipReason reason = _skipReason(slot, claimed, calls);
            emit Skipped(payer, msg.sender, start / ROW_BYTES, reason);
        } else {
            // `spent` stays at or below `claimed` and `calls` at or below the row's: both fit.
            slot = slot.charge(due, newCalls);
            place.slot = slot;
            emit Settled(payer, msg.sender, slot.usage(due));
        }
        return due;
    }

    /// @dev What a row adds to what was settled before; zero if it may not be paid. One way out
    /// and one caller: so the compiler inlines it.
    function _due(
        GrantSlot slot,
        uint256 claimed,
        uint256 calls
    ) private pure returns (uint256 due, uint256 newCalls) {
        uint256 spent = slot.spent();
        uint256 callsBefore = slot.calls();
        if (claimed > spent && calls > callsBefore) {
            unchecked {
                due = claimed - spent;
                newCalls = calls - callsBefore;
                // 40 bits times 32 bits. A closed grant has the price 0.
                if (due > slot.price() * newCalls) due = 0;
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

    function _openGrant(
        address payer,
        address provider,
        address signer
    ) private view returns (Grant memory grant) {
        grant = grants[provider][signer][payer].slot.unpack();
        require(grant.expiry != 0, GrantMissing(payer, provider, signer));
    }

    function _debit(address account, uint256 amount) private returns (uint64 balance) {
        balance = accounts[account].balance;
        require(amount <= balance, BalanceTooLow(balance, amount));
        balance -= uint64(amount);
        accounts[account].balance = balance;
    }

    /// @dev `amount` was held in a grant, so the sum fits.
    function _credit(address account, uint256 amount) private returns (uint64 balance) {
        balance = accounts[account].balance + uint64(amount);
        accounts[account].balance = balance;
    }

    function _requireAtMost(uint256 value, uint256 valueMax) private pure {
        require(value <= valueMax, OutOfRange(value, valueMax));
    }
}
