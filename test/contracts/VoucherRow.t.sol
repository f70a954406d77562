// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {VoucherRow} from "../../contracts/VoucherRow.sol";
import {PlainVoucherRow} from "./support/PlainVoucherRow.sol";
import {Signing} from "./support/Signing.sol";
import {Test} from "./support/Test.sol";

/// @title The assembly that reads a voucher's row against the same in plain Solidity
contract VoucherRowTest is Test, Signing {
    struct Row {
        address payer;
        uint64 claimed;
        uint64 maxAmount;
        uint32 calls;
        uint32 maxCalls;
        uint8 epoch;
        bytes32 r;
        bytes32 vs;
    }

    function compare(bytes calldata rows, bytes32 domain, address provider) external view {
        uint256 free = _freeMemory();
        (address payer, uint256 numbers, address signer) = VoucherRow.read(
            rows,
            domain,
            provider
        );
        assertEq(_freeMemory(), free, "no memory is taken");
        (address payer2, uint256 numbers2, address signer2) = PlainVoucherRow.read(
            rows,
            domain,
            provider
        );
        vm.assertEq(payer, payer2, "payer");
        vm.assertEq(signer, signer2, "signer");
        assertEq(numbers, numbers2, "numbers");
        // Memory that was never written reads as zero for whoever comes next.
        vm.assertEq(new bytes(64), abi.encode(uint256(0), uint256(0)), "the next memory is clean");
    }

    function signerOf(
        bytes calldata rows,
        bytes32 domain,
        address provider
    ) external view returns (address signer) {
        (, , signer) = VoucherRow.read(rows, domain, provider);
    }

    /// @dev It writes where free memory begins, and nowhere far behind: memory costs gas by its end.
    function test_ReadingARowTakesLittleMemory() public view {
        Row memory row;
        bytes memory encoded = _encode(row, "");
        uint256 before = gasleft();
        this.readWithMemory(encoded, 2_000);
        vm.assertTrue(before - gasleft() < 100_000, "gas");
    }

    function readWithMemory(bytes calldata rows, uint256 size) external view {
        bytes memory taken = new bytes(size);
        VoucherRow.read(rows, bytes32(0), address(this));
        assertEq(taken.length, size, "as it was");
    }

    function _freeMemory() private pure returns (uint256 free) {
        assembly ("memory-safe") {
            free := mload(0x40)
        }
    }

    function _encode(Row memory row, bytes memory rest) private pure returns (bytes memory) {
        return
            abi.encodePacked(
                row.payer,
                row.claimed,
                row.maxAmount,
                row.calls,
                row.maxCalls,
                row.epoch,
                row.r,
                row.vs,
                rest
            );
    }

    function testFuzz_NoiseIsReadAlike(
        Row calldata row,
        bytes calldata rest,
        bytes32 domain,
        address provider
    ) public view {
        this.compare(_encode(row, rest), domain, provider);
    }

    function testFuzz_WhatSomebodySignedIsReadAlikeAndNamesTheSigner(
        Row memory row,
        bytes32 domain,
        address provider,
        uint256 seed
    ) public view {
        uint256 key = bound(seed, 1, CURVE_ORDER - 1);
        bytes memory encoded = abi.encode(
            keccak256(
                "Voucher(address payer,address provider,uint64 maxAmount,uint32 maxCalls,uint8 epoch)"
            ),
            row.payer,
            provider,
            row.maxAmount,
            row.maxCalls,
            row.epoch
        );
        bytes memory signature = signCompact(key, typedDigest(domain, encoded));
        (row.r, row.vs) = abi.decode(signature, (bytes32, bytes32));
        this.compare(_encode(row, ""), domain, provider);
        vm.assertEq(
            this.signerOf(_encode(row, ""), domain, provider),
            vm.addr(key),
            "the signer"
        );
    }

    /// @notice Around the highest `s` that is proper, and the highest `r` and `v`.
    function testFuzz_TheBoundsOfASignatureAreReadAlike(
        Row memory row,
        uint8 around,
        bool odd,
        bytes32 domain
    ) public view {
        uint256 s = CURVE_ORDER / 2 + around - 128;
        row.vs = bytes32(s | (odd ? 1 << 255 : 0));
        this.compare(_encode(row, ""), domain, address(this));
        row.r = bytes32(CURVE_ORDER + around - 128);
        this.compare(_encode(row, ""), domain, address(this));
        row.r = bytes32(uint256(around) >> 4);
        this.compare(_encode(row, ""), domain, address(this));
        row.vs = bytes32(uint256(around) >> 4);
        this.compare(_encode(row, ""), domain, address(this));
    }
}
