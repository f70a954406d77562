// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../../contracts/DevUsdc.sol";
import {Escrow} from "../../../contracts/Escrow.sol";
import {TypedData} from "../../../contracts/TypedData.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {Vm} from "./Vm.sol";

/// @title What payers sign, made as a wallet would: the types are written out here once more
abstract contract Signing {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant CURVE_ORDER =
        0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    /// @dev 65 bytes, as wallets give them.
    function sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev 64 bytes (EIP-2098), as the rows of `redeem` have them.
    function signCompact(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        return abi.encodePacked(r, uint256(s) | (uint256(v - 27) << 255));
    }

    function typedDigest(bytes32 domain, bytes memory encoded) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(encoded)));
    }

    // ---------------------------------------------------------------- vouchers

    function voucherDigest(
        Escrow escrow,
        TypedData.Voucher memory voucher
    ) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "Voucher(address payer,address provider,uint64 maxAmount,uint32 maxCalls,uint8 epoch)"
        );
        return typedDigest(escrow.DOMAIN_SEPARATOR(), abi.encode(typehash, voucher));
    }

    function signVoucher(
        Escrow escrow,
        TypedData.Voucher memory voucher,
        uint256 key
    ) internal view returns (bytes memory) {
        return signCompact(key, voucherDigest(escrow, voucher));
    }

    function redeemRow(
        TypedData.Voucher memory voucher,
        uint256 claimed,
        uint256 calls,
        bytes memory signature
    ) internal pure returns (bytes memory) {
        return
            abi.encodePacked(
                voucher.payer,
                uint64(claimed),
                voucher.maxAmount,
                uint32(calls),
                voucher.maxCalls,
                voucher.epoch,
                signature
            );
    }

    // ------------------------------------------------------------------ relays

    function approveDigest(
        Escrow escrow,
        address payer,
        IEscrow.Terms memory terms,
        uint256 nonce,
        uint256 deadline
    ) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "Approve(address payer,address provider,address signer,uint40 price,uint64 budget,uint32 expiry,uint8 notice,uint256 nonce,uint256 deadline)"
        );
        return
            typedDigest(
                escrow.DOMAIN_SEPARATOR(),
                abi.encode(
                    typehash,
                    payer,
                    terms.provider,
                    terms.signer,
                    terms.price,
                    terms.budget,
                    terms.expiry,
                    terms.notice,
                    nonce,
                    deadline
                )
            );
    }

    function withdrawDigest(
        Escrow escrow,
        address owner,
        address to,
        uint256 amount,
        uint256 nonce,
        uint256 deadline
    ) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "Withdraw(address owner,address to,uint64 amount,uint256 nonce,uint256 deadline)"
        );
        return
            typedDigest(
                escrow.DOMAIN_SEPARATOR(),
                abi.encode(typehash, owner, to, amount, nonce, deadline)
            );
    }

    // --------------------------------------------------------------- the token

    function permitDigest(
        DevUsdc usdc,
        address owner,
        address spender,
        uint256 amount,
        uint256 deadline
    ) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
        );
        return
            typedDigest(
                usdc.DOMAIN_SEPARATOR(),
                abi.encode(typehash, owner, spender, amount, usdc.nonces(owner), deadline)
            );
    }

    function receiveDigest(
        DevUsdc usdc,
        address to,
        IEscrow.Authorization memory authorization,
        bytes32 nonce
    ) internal view returns (bytes32) {
        bytes32 typehash = keccak256(
            "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        return
            typedDigest(
                usdc.DOMAIN_SEPARATOR(),
                abi.encode(
                    typehash,
                    authorization.from,
                    to,
                    authorization.amount,
                    authorization.validAfter,
                    authorization.validBefore,
                    nonce
                )
            );
    }
}
