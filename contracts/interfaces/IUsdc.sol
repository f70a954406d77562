// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title What the escrow uses of USDC beyond ERC-20: the forms that smart accounts can sign, too
interface IUsdc {
    /// @notice EIP-2612 with a signature of any kind: 65 bytes of a key, or what a contract accepts.
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice EIP-3009 with a signature of any kind. Only `to` may call it.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}
