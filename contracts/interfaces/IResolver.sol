// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {
    IEnsAddr,
    IEnsAddress,
    IEnsContenthash,
    IEnsMulticall,
    IEnsText,
    IEnsVersionable
} from "./IEnsResolver.sol";

/// @title What the world may know of one provider and of its names
/// @notice Clients pin `addr` and `pubkey` and stop when they change. What has a node is for ENS
/// clients and for the names of deployments; `addr(node)` is `addr()` for every name.
/// Warning: all of it is the provider's own word. `server` is hostile input to whoever dials it.
interface IResolver is
    IEnsAddr,
    IEnsAddress,
    IEnsText,
    IEnsContenthash,
    IEnsVersionable,
    IEnsMulticall,
    IERC165
{
    /// @notice The provider is now paid and recognised at `addr`.
    event AddrChanged(address addr);
    /// @notice The provider is now reached at `server`.
    event ServerChanged(string server);
    /// @notice Secrets for the provider are now sealed with `pubkey`.
    event PubkeyChanged(bytes pubkey);

    /// @notice Only the owner may do this.
    error NotOwner(address caller);
    /// @notice An owner and an address of zero could sign nothing.
    error AddressZero();
    /// @notice A record has more bytes than everybody should have to read.
    error RecordTooLong(uint256 bytes_, uint256 bytesMax);

    /// @notice The one who may change the records, for ever.
    function owner() external view returns (address);

    /// @notice The provider's account: the one that grants name and that signs receipts.
    function addr() external view returns (address);

    /// @notice An origin such as `https://example.org`, or that of the gateway whose tunnel
    /// the provider uses. At most 512 bytes.
    function server() external view returns (string memory);

    /// @notice An RSA public key as DER SubjectPublicKeyInfo. At most 1024 bytes.
    function pubkey() external view returns (bytes memory);

    /// @notice Changes where the provider is paid. Clients that pinned the address stop.
    function setAddr(address addr_) external;

    /// @notice Changes where the provider is reached.
    function setServer(string calldata server_) external;

    /// @notice Changes the key that secrets are sealed with. Clients that pinned it stop.
    function setPubkey(bytes calldata pubkey_) external;

    /// @notice Changes a text of a name. Keys have at most 64 bytes, values 2048.
    function setText(bytes32 node, string calldata key, string calldata value) external;

    /// @notice Changes what a name stands for. At most 256 bytes.
    function setContenthash(bytes32 node, bytes calldata hash) external;

    /// @notice Empties all texts and the contenthash of a name.
    function clearRecords(bytes32 node) external;
}
