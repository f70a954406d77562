// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {TypedData} from "./TypedData.sol";

/// @title One row of `IEscrow.redeem`, and who signed its voucher
/// @dev A settlement does this a thousand times, and in assembly it costs a third: all hashing is
/// done in the same free memory, where Solidity would take more for each row. The same in plain
/// Solidity is in test/contracts/support/PlainVoucherRow.sol, and a fuzz test compares the two.
library VoucherRow {
    uint256 internal constant BYTES = 109;
    /// @dev Half the order of secp256k1: each signature has one accepted form (EIP-2).
    uint256 internal constant S_MAX =
        0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @dev Reads the first of `rows`, which must have at least `BYTES` bytes.
    /// Nothing is asked of the signer's address: an account with code signs with its key all the
    /// same (EIP-7702).
    /// @param provider For whom the voucher must have been signed.
    /// @return payer As the row says.
    /// @return numbers From the highest bits: `claimed 64 | maxAmount 64 | calls 32 | maxCalls 32 |
    /// epoch 8`; the lowest 56 bits are noise.
    /// @return signer Whose key made the compact signature (EIP-2098); zero if nobody's did.
    function read(
        bytes calldata rows,
        bytes32 domain,
        address provider
    ) internal view returns (address payer, uint256 numbers, address signer) {
        bytes32 typehash = TypedData.VOUCHER_TYPEHASH;
        uint256 sMax = S_MAX;
        assembly ("memory-safe") {
            let row := rows.offset
            payer := shr(96, calldataload(row))
            numbers := calldataload(add(row, 20))
            let vs := calldataload(add(row, 77))
            let s := shr(1, shl(1, vs))

            // The struct: typehash, payer, provider, maxAmount, maxCalls, epoch.
            let free := mload(0x40)
            mstore(free, typehash)
            mstore(add(free, 0x20), payer)
            mstore(add(free, 0x40), provider)
            mstore(add(free, 0x60), and(shr(128, numbers), 0xffffffffffffffff))
            mstore(add(free, 0x80), and(shr(64, numbers), 0xffffffff))
            mstore(add(free, 0xa0), byte(24, numbers))
            let structHash := keccak256(free, 0xc0)

            // The digest: 0x1901, domain, struct hash.
            mstore(free, shl(240, 0x1901))
            mstore(add(free, 0x02), domain)
            mstore(add(free, 0x22), structHash)

            // The arguments of ecrecover: digest, v, r, s. It answers nothing to a bad signature.
            mstore(free, keccak256(free, 0x42))
            mstore(add(free, 0x20), add(27, shr(255, vs)))
            mstore(add(free, 0x40), calldataload(add(row, 45)))
            mstore(add(free, 0x60), s)
            mstore(0x00, 0)
            pop(staticcall(gas(), 1, free, 0x80, 0x00, 0x20))
            signer := mul(iszero(gt(s, sMax)), mload(0x00))
        }
    }
}
