// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title The four signed objects of the protocol as EIP-712 typed data
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
        // Every member is one word, so the struct's encoding is the members' encoding.
        return keccak256(abi.encode(VOUCHER_TYPEHASH, voucher));
    }

    function hash(Receipt memory receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_TYPEHASH, receipt));
    }
}
