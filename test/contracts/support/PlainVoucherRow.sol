// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {TypedData} from "../../../contracts/TypedData.sol";

/// @title `VoucherRow` in plain Solidity
library PlainVoucherRow {
    function read(
        bytes calldata rows,
        bytes32 domain,
        address provider
    ) internal pure returns (address payer, uint256 numbers, address signer) {
        payer = address(bytes20(rows[:20]));
        numbers = uint256(bytes32(rows[20:52]));
        TypedData.Voucher memory voucher = TypedData.Voucher({
            payer: payer,
            provider: provider,
            maxAmount: uint64(bytes8(rows[28:36])),
            maxCalls: uint32(bytes4(rows[40:44])),
            epoch: uint8(rows[44])
        });
        bytes32 digest = keccak256(
            abi.encodePacked(hex"1901", domain, TypedData.hash(voucher))
        );
        (signer, , ) = ECDSA.tryRecover(
            digest,
            bytes32(rows[45:77]),
            bytes32(rows[77:109])
        );
    }
}
