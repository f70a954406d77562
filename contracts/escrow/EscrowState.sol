// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {GrantSlot, GrantSlots} from "../GrantSlot.sol";
import {TypedData} from "../TypedData.sol";
import {IEscrow} from "../interfaces/IEscrow.sol";

/// @title What the escrow keeps, and who may read it
/// @dev All storage is here, in an order that never changes. Free balances and budgets add up to
/// `totalHeld`, which fits 64 bits, so no sum of amounts overflows.
abstract contract EscrowState is IEscrow, EIP712 {
    /// @dev One slot with 192 bits to spare.
    struct Account {
        uint64 balance;
    }

    /// @dev A struct, so that a settlement finds the place of a grant once, to read and to write.
    struct Place {
        GrantSlot slot;
    }

    /// @dev Of metered use: nobody signs it, the provider reports it.
    address internal constant METERED = address(0);

    /// @inheritdoc IEscrow
    IERC20 public immutable token;

    mapping(address account => Account) internal accounts;

    /// @dev The payer comes last, so that a batch of metered use hashes provider and signer once.
    mapping(address provider => mapping(address signer => mapping(address payer => Place)))
        internal grants;

    /// @inheritdoc IEscrow
    uint64 public totalHeld;

    /// @inheritdoc IEscrow
    mapping(address account => uint256) public nonces;

    mapping(address provider => mapping(address user => Credits)) internal credits;

    constructor(IERC20 token_) EIP712(TypedData.DOMAIN_NAME, TypedData.DOMAIN_VERSION) {
        require(address(token_).code.length != 0, TokenMissing(address(token_)));
        token = token_;
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

    /// @inheritdoc IEscrow
    function isSignedBy(
        address signer,
        bytes32 digest,
        bytes calldata signature
    ) public view returns (bool) {
        (address recovered, ECDSA.RecoverError failure, ) = ECDSA.tryRecoverCalldata(
            digest,
            signature
        );
        if (failure == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature);
    }

    // --------------------------------------------------------------- internals

    /// @dev Checks what `account` signed for a relay, and that it is not done again.
    function _useSignature(
        address account,
        uint256 deadline,
        bytes32 structHash,
        bytes calldata signature
    ) internal {
        require(block.timestamp <= deadline, DeadlinePassed(deadline));
        nonces[account] += 1;
        require(
            isSignedBy(account, _hashTypedDataV4(structHash), signature),
            SignatureInvalid(account)
        );
    }

    function _debit(address account, uint256 amount) internal returns (uint64 balance) {
        balance = accounts[account].balance;
        require(amount <= balance, BalanceTooLow(balance, amount));
        balance -= uint64(amount);
        accounts[account].balance = balance;
    }

    /// @dev `amount` was held in a grant or counted into `totalHeld`, so the sum fits.
    function _credit(address account, uint256 amount) internal returns (uint64 balance) {
        balance = accounts[account].balance + uint64(amount);
        accounts[account].balance = balance;
    }

    function _openGrant(
        address payer,
        address provider,
        address signer
    ) internal view returns (Grant memory grant) {
        grant = grants[provider][signer][payer].slot.unpack();
        require(grant.expiry != 0, GrantMissing(payer, provider, signer));
    }

    function _setGrant(
        address payer,
        address provider,
        address signer,
        Grant memory grant
    ) internal returns (GrantSlot slot) {
        slot = GrantSlots.pack(grant);
        grants[provider][signer][payer].slot = slot;
    }

    function _requireAtMost(uint256 value, uint256 valueMax) internal pure {
        require(value <= valueMax, OutOfRange(value, valueMax));
    }
}
