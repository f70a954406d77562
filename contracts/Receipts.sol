// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {P256} from "@openzeppelin/contracts/utils/cryptography/P256.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {TypedData} from "./TypedData.sol";
import {IReceipts} from "./interfaces/IReceipts.sol";

/// @title Receipts: whether a provider said what a receipt says
contract Receipts is IReceipts {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256(
            "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        );

    /// @inheritdoc IReceipts
    address public immutable escrow;

    constructor(address escrow_) {
        escrow = escrow_;
    }

    /// @inheritdoc IReceipts
    function verify(
        TypedData.Receipt calldata receipt,
        Proof calldata proof
    ) external view returns (Verdict) {
        bytes32 separator = _domainSeparator();
        // Hashed once more than an inner node, so that neither can stand for the other.
        bytes32 leaf = keccak256(bytes.concat(TypedData.hash(receipt)));
        bytes32 root = MerkleProof.processProofCalldata(proof.path, leaf);
        bytes32 group = sha256(
            abi.encodePacked(hex"1901", separator, TypedData.hashReceiptGroup(root))
        );
        TypedData.ReceiptKey calldata key = proof.key;
        if (!P256.verify(group, proof.r, proof.s, key.x, key.y)) return Verdict.SignatureWrong;
        if (receipt.provider != key.provider) return Verdict.KeyOfAnother;
        bytes32 digest = MessageHashUtils.toTypedDataHash(separator, TypedData.hash(key));
        if (!SignatureChecker.isValidSignatureNowCalldata(key.provider, digest, proof.delegation)) {
            return Verdict.KeyNotDelegated;
        }
        // In milliseconds; neither sum comes near to its type's end.
        uint256 endedAt = uint256(receipt.startedAt) + receipt.durationMs;
        if (endedAt < uint256(key.validAfter) * 1000 || endedAt > uint256(key.validBefore) * 1000) {
            return Verdict.KeyNotInTime;
        }
        return Verdict.Valid;
    }

    /// @dev That of the Escrow, in which all of the protocol is signed.
    function _domainSeparator() private view returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    DOMAIN_TYPEHASH,
                    keccak256(bytes(TypedData.DOMAIN_NAME)),
                    keccak256(bytes(TypedData.DOMAIN_VERSION)),
                    block.chainid,
                    escrow
                )
            );
    }
}
