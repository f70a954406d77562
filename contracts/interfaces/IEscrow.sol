// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Where payers reserve money for providers, and providers collect what they earned
/// @notice Amounts are base units of the token (USDC: 6 decimals), times are Unix seconds, notices
/// are hours. Nobody is an administrator: there is no owner, no pause and no upgrade.
///
/// Money is either free, in the balance of an account, or reserved, in the budget of a grant. A
/// grant belongs to one payer, one provider and one signer; signer zero is metered use, which the
/// provider reports. A grant is open from `approve` until `reclaim`. While it is open the payer may
/// only improve it; to leave, it revokes, waits for the notice, and reclaims.
///
/// What is signed for somebody else to send can be signed by a key or by a contract (ERC-1271).
/// Warning: tokens that are sent here without a deposit belong to nobody and never come back.
interface IEscrow {
    /// @notice All that is known of one grant; it fills one storage slot in this order, lowest
    /// bits first.
    /// @param spent What the provider has collected, in all epochs together.
    /// @param budget What it may still collect; this is reserved for it.
    /// @param price At most this much per call.
    /// @param calls How many calls it has settled, in all epochs together.
    /// @param expiry No call may be served after it. Zero: the grant is closed.
    /// @param notice For how many hours after `expiry` the payer cannot reclaim.
    /// @param flags Always zero today.
    /// @param epoch How often the grant was reclaimed. Vouchers name it, so reclaiming ends them.
    struct Grant {
        uint64 spent;
        uint64 budget;
        uint40 price;
        uint32 calls;
        uint32 expiry;
        uint8 notice;
        uint8 flags;
        uint8 epoch;
    }

    /// @notice What a payer offers a provider. The members mean what they mean in `Grant`.
    struct Terms {
        address provider;
        address signer;
        uint40 price;
        uint64 budget;
        uint32 expiry;
        uint8 notice;
    }

    /// @notice What somebody signed at the token so that the escrow may take it (EIP-3009). The
    /// nonce is not here: it is computed from what the money is for.
    struct Authorization {
        address from;
        uint256 amount;
        uint256 validAfter;
        uint256 validBefore;
    }

    /// @notice A voucher whose signer is a contract (ERC-1271), with what is claimed of it.
    /// @param claimed Amount and calls that are claimed, cumulative as in `redeem`.
    /// @param maxAmount This and `maxCalls` are what was signed for.
    struct ContractVoucher {
        address payer;
        address signer;
        uint64 claimed;
        uint64 maxAmount;
        uint32 calls;
        uint32 maxCalls;
        uint8 epoch;
        bytes signature;
    }

    /// @notice How many calls a provider gives away, and gave away, in all.
    struct Credits {
        uint64 granted;
        uint64 used;
    }

    /// @notice Why a row of a settlement was left out.
    enum SkipReason {
        /// The payer has no open grant for this provider.
        GrantMissing,
        /// The amount was collected before. Replays end here.
        NothingDue,
        /// More than the price for each new call.
        PriceAboveCap,
        /// The budget does not cover one more call.
        BudgetTooLow,
        /// No key and no contract signed this voucher.
        SignatureInvalid,
        /// The voucher is of another epoch of the grant.
        EpochOther,
        /// More is claimed than was signed for.
        AboveVoucher,
        /// More trial calls than were granted.
        CreditsTooLow
    }

    // ------------------------------------------------------------------ events

    /// @notice `account` brought `amount` and has `balance` free.
    event Deposited(address indexed account, uint64 amount, uint64 balance);

    /// @notice `account` took `amount` and has `balance` free.
    event Withdrawn(address indexed account, uint64 amount, uint64 balance);

    /// @notice The grant is open with these terms, and `payer` has `balance` free.
    event Approved(
        address indexed payer,
        address indexed provider,
        address indexed signer,
        uint40 price,
        uint64 budget,
        uint32 expiry,
        uint8 notice,
        uint8 epoch,
        uint64 spent,
        uint32 calls,
        uint64 balance
    );

    /// @notice The grant ends at `expiry`; the provider's notice runs from then.
    event Revoked(
        address indexed payer,
        address indexed provider,
        address indexed signer,
        uint32 expiry
    );

    /// @notice The grant is closed, `amount` went back to `payer`, who has `balance` free. The
    /// next grant has the number `epoch`.
    event Reclaimed(
        address indexed payer,
        address indexed provider,
        address indexed signer,
        uint64 amount,
        uint8 epoch,
        uint64 balance
    );

    /// @notice `provider` collected for one call; it has `balance` free.
    /// @param usage See `Settled`.
    event Consumed(
        address indexed payer,
        address indexed provider,
        uint256 usage,
        uint64 balance
    );

    /// @notice One row of a settlement was paid from the metered grant.
    /// @param usage In one word to save gas, lowest bits first: `spent u64 | budget u64 | paid u64 |
    /// calls u32`; all but `paid` are the grant's new values.
    event Settled(address indexed payer, address indexed provider, uint256 usage);

    /// @notice One voucher was paid that the payer had signed itself.
    /// @param usage See `Settled`.
    event Redeemed(address indexed payer, address indexed provider, uint256 usage);

    /// @notice One voucher was paid that another signer of the payer had signed. It costs 280 gas
    /// more than `Redeemed`, and only those pay it who use it.
    /// @param usage See `Settled`.
    event RedeemedBySession(
        address indexed payer,
        address indexed provider,
        address signer,
        uint256 usage
    );

    /// @notice One row of a settlement was left out; its grant is as it was.
    /// @param index The number of the row in its batch, from 0.
    event Skipped(
        address indexed payer,
        address indexed provider,
        uint256 index,
        SkipReason reason
    );

    /// @notice A settlement is complete: `provider` got `paid` in all and has `balance` free.
    /// @param usageRoot The provider's commitment to the calls that it charged.
    event BatchSettled(
        address indexed provider,
        uint64 paid,
        uint64 balance,
        bytes32 usageRoot
    );

    /// @notice `provider` gives `user` so many trial calls more; `granted` and `used` are the sums.
    event CreditsGranted(
        address indexed provider,
        address indexed user,
        uint64 calls,
        uint64 granted,
        uint64 used
    );

    /// @notice `user` has made `used` trial calls in all.
    event CreditsUsed(
        address indexed provider,
        address indexed user,
        uint64 granted,
        uint64 used
    );

    /// @notice Somebody who paid `spent` for `calls` in this grant says how content it is.
    event Rated(
        address indexed payer,
        address indexed provider,
        address signer,
        uint8 score,
        bytes32 receiptHash,
        uint64 spent,
        uint32 calls
    );

    // ------------------------------------------------------------------ errors

    /// @notice There is no contract at the token's address.
    error TokenMissing(address token);
    /// @notice An amount of zero changes nothing.
    error AmountZero();
    /// @notice The number has no room in the grant or in the escrow.
    error OutOfRange(uint256 value, uint256 valueMax);
    /// @notice The token moved another amount than it was told to.
    error TokenMovedOther(uint256 moved, uint256 expected);
    /// @notice The account has less free than is needed.
    error BalanceTooLow(uint256 balance, uint256 needed);
    /// @notice A grant needs a provider.
    error ProviderZero();
    /// @notice At a price of zero nothing could be collected.
    error PriceZero();
    /// @notice A grant must not have ended when it is made.
    error ExpiryPassed(uint256 expiry);
    /// @notice The shortest notice is one hour.
    error NoticeZero();
    /// @notice An open grant can only be improved. To pay less, revoke it, reclaim it and make anew.
    error TermsCut(Grant current);
    /// @notice The grant was reclaimed 255 times. Use another signer.
    error EpochsExhausted();
    /// @notice There is no open grant of this payer for this provider and signer.
    error GrantMissing(address payer, address provider, address signer);
    /// @notice The grant has expired or was revoked before.
    error GrantEnded(uint256 expiry);
    /// @notice The provider may still settle; the payer may reclaim from then on.
    error NoticeRunning(uint256 reclaimableFrom);
    /// @notice The provider asks more per call than the payer agreed to.
    error PriceAboveCap(uint256 price, uint256 cap);
    /// @notice The grant's budget does not cover the price.
    error BudgetTooLow(uint256 budget, uint256 price);
    /// @notice Rows have a fixed length, and there must be one.
    error RowsMalformed(uint256 length);
    /// @notice What was signed was to be done before.
    error DeadlinePassed(uint256 deadline);
    /// @notice This is not what `account` signed, or it was done already.
    error SignatureInvalid(address account);
    /// @notice Only who paid may rate.
    error NothingSpent(address payer, address provider, address signer);

    // ------------------------------------------------------------------- money

    /// @notice Moves `amount` from the caller, who approved it at the token, to its free balance.
    /// @dev Reverts unless exactly `amount` arrives.
    function deposit(uint256 amount) external;

    /// @notice Moves `amount` from the caller to the free balance of `account`, and changes nothing
    /// else of it.
    function depositFor(address account, uint256 amount) external;

    /// @notice `deposit` with the caller's permit (EIP-2612) for the escrow. If the permit was sent
    /// before, by anybody, the allowance that it gave is used.
    function depositWithPermit(
        uint256 amount,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice Moves what `authorization.from` signed at the token to its free balance. Anybody may
    /// send it.
    /// @param salt Any number; what is signed has `depositNonce(salt)`.
    function depositWithAuthorization(
        Authorization calldata authorization,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// @notice The EIP-3009 nonce of a deposit. No nonce of a grant is one of these.
    function depositNonce(bytes32 salt) external pure returns (bytes32);

    /// @notice Moves `amount` of the caller's free balance to the caller.
    /// @dev Reverts unless exactly `amount` leaves.
    function withdraw(uint256 amount) external;

    /// @notice Moves `amount` of the caller's free balance to `to`.
    function withdrawTo(address to, uint256 amount) external;

    /// @notice `withdrawTo` for `owner`, who signed it: `TypedData.WITHDRAW_TYPEHASH` with its next
    /// nonce. Anybody may send it.
    function withdrawBySig(
        address owner,
        address to,
        uint64 amount,
        uint256 deadline,
        bytes calldata signature
    ) external;

    // ------------------------------------------------------------------ payers

    /// @notice Opens or improves the caller's metered grant: `provider` may charge up to
    /// `pricePerRequest` for each request, and `budget` is left for it. The missing part of the
    /// budget moves from the free balance. The grant lasts for 365 days from now and has a notice
    /// of 48 hours, unless its terms were better already.
    /// Warning: `budget` is what is left afterwards, not what is added.
    function approve(address provider, uint256 pricePerRequest, uint256 budget) external;

    /// @notice Opens or improves a grant of the caller; see the short form. No term of an open
    /// grant may be cut: not the price, the budget, the expiry or the notice.
    /// @dev It may also lengthen a grant that was revoked or has expired.
    function approve(Terms calldata terms) external;

    /// @notice `approve` for `payer`, who signed it: `TypedData.APPROVE_TYPEHASH` with its next
    /// nonce. Anybody may send it.
    function approveBySig(
        address payer,
        Terms calldata terms,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice Deposits what `authorization.from` signed at the token, and approves `terms` for it.
    /// Anybody may send it: it is done as signed, or not at all.
    /// @param salt Any number; what is signed has `grantNonce(terms, salt)`.
    function depositAndApproveWithAuthorization(
        Authorization calldata authorization,
        Terms calldata terms,
        bytes32 salt,
        bytes calldata signature
    ) external;

    /// @notice The EIP-3009 nonce of a deposit that opens or improves a grant: it binds every term.
    function grantNonce(
        Terms calldata terms,
        bytes32 salt
    ) external pure returns (bytes32);

    /// @notice Ends the caller's metered grant now; see the long form.
    function revoke(address provider) external;

    /// @notice Ends a grant of the caller now. The provider can settle until the notice has
    /// passed, then the caller can reclaim.
    function revoke(address provider, address signer) external;

    /// @notice Closes the caller's metered grant; see the long form.
    function reclaim(address provider) external;

    /// @notice Closes a grant of the caller that ended at least its notice ago, moves what is left
    /// to the free balance, and begins the next epoch.
    /// Warning: until this is called the provider can still settle, even after the notice.
    function reclaim(address provider, address signer) external;

    // --------------------------------------------------------------- providers

    /// @notice Collects `price` for one call from the caller's metered grant of `payer`.
    /// Warning: this is not idempotent; repeating it charges another call. `settle` is safe to
    /// repeat and cheaper.
    function consume(address payer, uint256 price) external;

    /// @notice Collects for many payers from their metered grants. A row that cannot be paid is
    /// skipped, with an event, and changes nothing. A budget that is too low is paid as far as the
    /// rest stays collectable after a top-up.
    /// @param rows 32 bytes each: `payer 20 | amount 8 | calls 4`, big-endian. Amount and calls
    /// are cumulative, over all settlements: repeating a row pays nothing.
    /// @param usageRoot The provider's commitment to the calls that it charges, for the event.
    function settle(bytes calldata rows, bytes32 usageRoot) external;

    /// @notice Collects what payers or their session keys promised by vouchers, as `settle` does: a
    /// voucher that cannot be paid is skipped, with an event, and changes nothing. Each is paid from
    /// the grant of the key that signed it.
    /// @param rows 109 bytes each: `payer 20 | claimed 8 | maxAmount 8 | calls 4 | maxCalls 4 |
    /// epoch 1 | r 32 | vs 32`, big-endian, with the signature as in EIP-2098. `claimed` and `calls`
    /// are cumulative and at most what was signed for: `maxAmount` and `maxCalls`.
    /// @param usageRoot The provider's commitment to the calls that it charges, for the event.
    function redeem(bytes calldata rows, bytes32 usageRoot) external;

    /// @notice `redeem` for signers that are contracts. A signer that reverts, or that uses more than
    /// 500,000 gas, only has its own voucher skipped.
    /// Warning: a contract may change its mind about what it signed. Redeem at once, or take
    /// vouchers of session keys only.
    function redeemContract(
        ContractVoucher[] calldata vouchers,
        bytes32 usageRoot
    ) external;

    // -------------------------------------------------------- trials, ratings

    /// @notice Gives `user` trial calls at the caller's cost. They are no money and never become any.
    function grantCredits(address user, uint64 calls) external;

    /// @notice Counts trial calls that the caller served. A row that is above what was granted, or
    /// was counted before, is skipped with an event.
    /// @param rows 32 bytes each: `user 20 | used 12`, big-endian; `used` is cumulative.
    function useCredits(bytes calldata rows) external;

    /// @notice Tells what the caller thinks of a provider that it paid from its metered grant.
    /// @param score From 0 to 100.
    /// @param receiptHash The receipt that this is about, or zero.
    function rate(address provider, uint8 score, bytes32 receiptHash) external;

    /// @notice `rate` by whoever paid from the grant of `signer`.
    function rate(
        address provider,
        address signer,
        uint8 score,
        bytes32 receiptHash
    ) external;

    // ------------------------------------------------------------------- views

    /// @notice The one token that is held here, for ever.
    function token() external view returns (IERC20);

    /// @notice All free balances and budgets together: what is owed to somebody.
    function totalHeld() external view returns (uint64);

    /// @notice What `account` has free.
    function balanceOf(address account) external view returns (uint256);

    /// @notice What is left of the metered grant of `payer` for `provider`, and its price cap.
    function allowance(
        address payer,
        address provider
    ) external view returns (uint256 pricePerRequest, uint256 budget);

    /// @notice All that is known of a grant; all zero if there never was one.
    function grantOf(
        address payer,
        address provider,
        address signer
    ) external view returns (Grant memory);

    /// @notice The trial calls of `user` with `provider`.
    function creditsOf(
        address provider,
        address user
    ) external view returns (Credits memory);

    /// @notice How many signed approvals and withdrawals of `account` were done. The next one must
    /// be signed with this number.
    function nonces(address account) external view returns (uint256);

    /// @notice Whether `signer` signed `digest`: with its key, whether it has code or not (EIP-7702),
    /// or as a contract (ERC-1271).
    function isSignedBy(
        address signer,
        bytes32 digest,
        bytes calldata signature
    ) external view returns (bool);

    /// @notice The EIP-712 domain of all signed objects; see `TypedData`.
    // solhint-disable-next-line func-name-mixedcase
    function DOMAIN_SEPARATOR() external view returns (bytes32);
}
