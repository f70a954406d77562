// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {TypedData} from "../TypedData.sol";

/// @title What contracts can find out about a call that somebody shows them the receipt of
/// @notice A receipt is a leaf of the tree of the calls that ended with it. The tree's root is signed with a P-256 key of
/// the provider's process, and the provider's account signed for the key.
interface IReceipts {
    /// @notice Why a receipt does not hold, or that it does.
    enum Verdict {
        Valid,
        /// The key did not sign the root to which the path leads: another receipt, path, market or key.
        SignatureWrong,
        /// The key signs for another provider than the receipt's.
        KeyOfAnother,
        /// The provider's account did not sign for the key.
        KeyNotDelegated,
        /// The call ended when the key did not hold.
        KeyNotInTime
    }

    /// @notice What goes with a receipt.
    struct Proof {
        /// The siblings from the receipt's leaf up to the root.
        bytes32[] path;
        /// The signature over the root, with the lower `s`.
        bytes32 r;
        bytes32 s;
        TypedData.ReceiptKey key;
        /// By the provider's account, EIP-712; ERC-1271 where that is a contract.
        bytes delegation;
    }

    /// @notice The escrow in whose EIP-712 domain receipts of this market are signed.
    function escrow() external view returns (address);

    /// @notice Whether a provider stated a receipt. Whether the provider told the truth is another question, and whether it
    /// was paid is the escrow's to say.
    function verify(
        TypedData.Receipt calldata receipt,
        Proof calldata proof
    ) external view returns (Verdict);
}
