// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {TypedData} from "../TypedData.sol";
import {IEscrow} from "../interfaces/IEscrow.sol";

/// @title Lets tests outside Solidity compare struct hashes and digests
contract TypedDataHarness is EIP712 {
    struct Approve {
        address payer;
        address provider;
        address signer;
        uint40 price;
        uint64 budget;
        uint32 expiry;
        uint8 notice;
        uint256 nonce;
        uint256 deadline;
    }

    struct ReceiptGroup {
        bytes32 root;
    }

    struct Withdraw {
        address owner;
        address to;
        uint64 amount;
        uint256 nonce;
        uint256 deadline;
    }

    constructor() EIP712(TypedData.DOMAIN_NAME, TypedData.DOMAIN_VERSION) {}

    function hashDeployment(
        TypedData.Deployment calldata deployment
    ) external pure returns (bytes32) {
        return TypedData.hash(deployment);
    }

    function hashPass(TypedData.Pass calldata pass) external pure returns (bytes32) {
        return TypedData.hash(pass);
    }

    function hashVoucher(TypedData.Voucher calldata voucher) external pure returns (bytes32) {
        return TypedData.hash(voucher);
    }

    function hashReceipt(TypedData.Receipt calldata receipt) external pure returns (bytes32) {
        return TypedData.hash(receipt);
    }

    function hashReceiptKey(TypedData.ReceiptKey calldata key) external pure returns (bytes32) {
        return TypedData.hash(key);
    }

    function hashReceiptGroup(ReceiptGroup calldata group) external pure returns (bytes32) {
        return TypedData.hashReceiptGroup(group.root);
    }

    function hashApprove(Approve calldata approve) external pure returns (bytes32) {
        IEscrow.Terms memory terms = IEscrow.Terms({
            provider: approve.provider,
            signer: approve.signer,
            price: approve.price,
            budget: approve.budget,
            expiry: approve.expiry,
            notice: approve.notice
        });
        return TypedData.hashApprove(approve.payer, terms, approve.nonce, approve.deadline);
    }

    function hashWithdraw(Withdraw calldata withdraw) external pure returns (bytes32) {
        return
            TypedData.hashWithdraw(
                withdraw.owner,
                withdraw.to,
                withdraw.amount,
                withdraw.nonce,
                withdraw.deadline
            );
    }

    /// @notice What is signed: the struct hash within this contract's domain.
    function digest(bytes32 structHash) external view returns (bytes32) {
        return _hashTypedDataV4(structHash);
    }
}
