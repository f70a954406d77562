// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {TypedData} from "../TypedData.sol";

/// @title Lets tests outside Solidity compare struct hashes and digests
contract TypedDataHarness is EIP712 {
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

    /// @notice What is signed: the struct hash within this contract's domain.
    function digest(bytes32 structHash) external view returns (bytes32) {
        return _hashTypedDataV4(structHash);
    }
}
