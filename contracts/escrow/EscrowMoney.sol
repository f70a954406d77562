// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {
    ReentrancyGuardTransient
} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {TypedData} from "../TypedData.sol";
import {IEscrow} from "../interfaces/IEscrow.sol";
import {IUsdc} from "../interfaces/IUsdc.sol";
import {EscrowState} from "./EscrowState.sol";

/// @title How money comes in and goes out
/// @dev The token is called here only, so nothing that a token does can stop a settlement.
abstract contract EscrowMoney is EscrowState, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    // ---------------------------------------------------------------- deposits

    /// @inheritdoc IEscrow
    function deposit(uint256 amount) external nonReentrant {
        _pull(msg.sender, amount);
    }

    /// @inheritdoc IEscrow
    function depositFor(address account, uint256 amount) external nonReentrant {
        _pull(account, amount);
    }

    /// @inheritdoc IEscrow
    function depositWithPermit(
        uint256 amount,
        uint256 deadline,
        bytes calldata signature
    ) external nonReentrant {
        // Anybody may have sent the permit before us: what counts is the allowance.
        try
            IUsdc(address(token)).permit(
                msg.sender,
                address(this),
                amount,
                deadline,
                signature
            )
        {} catch {}
        _pull(msg.sender, amount);
    }

    /// @inheritdoc IEscrow
    function depositWithAuthorization(
        Authorization calldata authorization,
        bytes32 salt,
        bytes calldata signature
    ) external nonReentrant {
        _receive(authorization, depositNonce(salt), signature);
    }

    /// @inheritdoc IEscrow
    function depositNonce(bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(salt));
    }

    // ------------------------------------------------------------- withdrawals

    /// @inheritdoc IEscrow
    function withdraw(uint256 amount) external nonReentrant {
        _pay(msg.sender, msg.sender, amount);
    }

    /// @inheritdoc IEscrow
    function withdrawTo(address to, uint256 amount) external nonReentrant {
        _pay(msg.sender, to, amount);
    }

    /// @inheritdoc IEscrow
    function withdrawBySig(
        address owner,
        address to,
        uint64 amount,
        uint256 deadline,
        bytes calldata signature
    ) external nonReentrant {
        _useSignature(
            owner,
            deadline,
            TypedData.hashWithdraw(owner, to, amount, nonces[owner], deadline),
            signature
        );
        _pay(owner, to, amount);
    }

    // --------------------------------------------------------------- internals

    /// @dev From the caller's wallet, by its allowance.
    function _pull(address account, uint256 amount) private {
        uint256 before = _tokensBefore(amount);
        token.safeTransferFrom(msg.sender, address(this), amount);
        _creditArrived(account, amount, before);
    }

    /// @dev From the signer's wallet, to the signer's balance.
    function _receive(
        Authorization calldata authorization,
        bytes32 nonce,
        bytes calldata signature
    ) internal {
        uint256 before = _tokensBefore(authorization.amount);
        IUsdc(address(token)).receiveWithAuthorization(
            authorization.from,
            address(this),
            authorization.amount,
            authorization.validAfter,
            authorization.validBefore,
            nonce,
            signature
        );
        _creditArrived(authorization.from, authorization.amount, before);
    }

    function _tokensBefore(uint256 amount) private view returns (uint256) {
        require(amount != 0, AmountZero());
        _requireAtMost(amount, type(uint64).max - totalHeld);
        return token.balanceOf(address(this));
    }

    function _creditArrived(address account, uint256 amount, uint256 before) private {
        uint256 moved = token.balanceOf(address(this)) - before;
        require(moved == amount, TokenMovedOther(moved, amount));
        totalHeld += uint64(amount);
        emit Deposited(account, uint64(amount), _credit(account, amount));
    }

    function _pay(address owner, address to, uint256 amount) private {
        require(amount != 0, AmountZero());
        uint64 balance = _debit(owner, amount);
        totalHeld -= uint64(amount);
        emit Withdrawn(owner, uint64(amount), balance);

        uint256 before = token.balanceOf(address(this));
        token.safeTransfer(to, amount);
        uint256 moved = before - token.balanceOf(address(this));
        require(moved == amount, TokenMovedOther(moved, amount));
    }
}
