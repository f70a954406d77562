// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEscrow} from "./interfaces/IEscrow.sol";

/// @title What is signed in the protocol, as EIP-712 typed data: its four objects, and the two
/// things that the escrow does for whoever signed them
/// @notice The domain is that of the Escrow: name `Khachapuri`, version `1`, its chain and address.
/// @dev The same types are in protocol/; a property test keeps the two equal. Members stay in
/// this order for ever: the order is part of what was signed.
library TypedData {
    string internal constant DOMAIN_NAME = "Khachapuri";
    string internal constant DOMAIN_VERSION = "1";

    bytes32 internal constant DEPLOYMENT_TYPEHASH =
        keccak256("Deployment(address owner,string program,string runtime,bytes32 specDigest)");
    bytes32 internal constant PASS_TYPEHASH =
        keccak256(
            "Pass(address payer,address[] providers,bytes32 deployment,uint64 maxPricePerCall,uint64 maxSpend,uint64 validAfter,uint64 validBefore,bytes32 id)"
        );
    bytes32 internal constant VOUCHER_TYPEHASH =
        keccak256(
            "Voucher(address payer,address provider,uint64 maxAmount,uint32 maxCalls,uint8 epoch)"
        );
    bytes32 internal constant RECEIPT_TYPEHASH =
        keccak256(
            "Receipt(bytes32 callId,bytes32 programId,bytes32 deployment,address payer,address provider,bytes32 requestDigest,bytes32 responseDigest,uint16 status,uint8 outcome,uint64 price,uint64 startedAt,uint32 durationMs)"
        );
    bytes32 internal constant RECEIPT_KEY_TYPEHASH =
        keccak256(
            "ReceiptKey(address provider,bytes32 x,bytes32 y,uint32 validAfter,uint32 validBefore)"
        );
    bytes32 internal constant RECEIPT_GROUP_TYPEHASH = keccak256("ReceiptGroup(bytes32 root)");
    bytes32 internal constant APPROVE_TYPEHASH =
        keccak256(
            "Approve(address payer,address provider,address signer,uint40 price,uint64 budget,uint32 expiry,uint8 notice,uint256 nonce,uint256 deadline)"
        );
    bytes32 internal constant WITHDRAW_TYPEHASH =
        keccak256(
            "Withdraw(address owner,address to,uint64 amount,uint256 nonce,uint256 deadline)"
        );

    /// @notice What an owner signs so that providers may run a program under its spec.
    struct Deployment {
        address owner;
        string program;
        string runtime;
        bytes32 specDigest;
    }

    /// @notice What a payer signs so that a bearer may spend within these bounds.
    struct Pass {
        address payer;
        address[] providers;
        bytes32 deployment;
        uint64 maxPricePerCall;
        uint64 maxSpend;
        uint64 validAfter;
        uint64 validBefore;
        bytes32 id;
    }

    /// @notice What a payer or its session key promises a provider, cumulatively.
    struct Voucher {
        address payer;
        address provider;
        uint64 maxAmount;
        uint32 maxCalls;
        uint8 epoch;
    }

    /// @notice What a provider states about one call.
    struct Receipt {
        bytes32 callId;
        bytes32 programId;
        bytes32 deployment;
        address payer;
        address provider;
        bytes32 requestDigest;
        bytes32 responseDigest;
        uint16 status;
        uint8 outcome;
        uint64 price;
        uint64 startedAt;
        uint32 durationMs;
    }

    /// @notice The P-256 key that signs a provider's receipts, and until when.
    struct ReceiptKey {
        address provider;
        bytes32 x;
        bytes32 y;
        uint32 validAfter;
        uint32 validBefore;
    }

    function hash(Deployment memory deployment) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    DEPLOYMENT_TYPEHASH,
                    deployment.owner,
                    keccak256(bytes(deployment.program)),
                    keccak256(bytes(deployment.runtime)),
                    deployment.specDigest
                )
            );
    }

    function hash(Pass memory pass) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    PASS_TYPEHASH,
                    pass.payer,
                    // Elements of an array are padded to words here, as EIP-712 wants.
                    keccak256(abi.encodePacked(pass.providers)),
                    pass.deployment,
                    pass.maxPricePerCall,
                    pass.maxSpend,
                    pass.validAfter,
                    pass.validBefore,
                    pass.id
                )
            );
    }

    function hash(Voucher memory voucher) internal pure returns (bytes32) {
        return
            hashVoucher(
                voucher.payer,
                voucher.provider,
                voucher.maxAmount,
                voucher.maxCalls,
                voucher.epoch
            );
    }

    /// @dev Without a struct in memory: a settlement hashes a thousand of these.
    function hashVoucher(
        address payer,
        address provider,
        uint64 maxAmount,
        uint32 maxCalls,
        uint8 epoch
    ) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(VOUCHER_TYPEHASH, payer, provider, maxAmount, maxCalls, epoch)
            );
    }

    function hash(Receipt memory receipt) internal pure returns (bytes32) {
        // Every member is one word, so the struct's encoding is the members' encoding.
        return keccak256(abi.encode(RECEIPT_TYPEHASH, receipt));
    }

    function hash(ReceiptKey memory key) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_KEY_TYPEHASH, key));
    }

    /// @dev The root of the receipts of calls that ended together.
    function hashReceiptGroup(bytes32 root) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_GROUP_TYPEHASH, root));
    }

    function hashApprove(
        address payer,
        IEscrow.Terms memory terms,
        uint256 nonce,
        uint256 deadline
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(APPROVE_TYPEHASH, payer, terms, nonce, deadline));
    }

    function hashWithdraw(
        address owner,
        address to,
        uint64 amount,
        uint256 nonce,
        uint256 deadline
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(WITHDRAW_TYPEHASH, owner, to, amount, nonce, deadline));
    }
}
