// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title What ENS clients know of a registry (EIP-137 and ENS's own contract)
/// @dev Without subnodes: here every name is a label directly under the root.
interface IEnsRegistry {
    /// @notice As in ENS: the name `label` under `node` now belongs to `owner`.
    event NewOwner(bytes32 indexed node, bytes32 indexed label, address owner);
    /// @notice As in ENS: the owner of `node` changed; zero means that nobody owns it.
    event Transfer(bytes32 indexed node, address owner);
    /// @notice As in ENS: the resolver of `node` changed; zero means that there is none.
    event NewResolver(bytes32 indexed node, address resolver);
    /// @notice As in ENS: how many seconds an answer about `node` may be kept.
    event NewTTL(bytes32 indexed node, uint64 ttl);
    /// @notice As in ENS: `operator` may, or may no more, act for `owner`.
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    /// @notice Gives the name, and the bond that stands for it, to another owner. Only its owner.
    /// Warning: at once and for good. An account that nobody has the key of keeps both.
    function setOwner(bytes32 node, address owner_) external;

    /// @notice Points the name to another resolver. Its owner or an operator.
    function setResolver(bytes32 node, address resolver_) external;

    /// @notice Says how many seconds clients may keep an answer. Its owner or an operator.
    function setTTL(bytes32 node, uint64 ttl_) external;

    /// @notice Lets an operator change resolver and ttl of all the caller's names and renew them.
    /// An operator can neither give a name away nor reach its bond.
    function setApprovalForAll(address operator, bool approved) external;

    /// @notice Who owns the name; zero if nobody.
    function owner(bytes32 node) external view returns (address);

    /// @notice Which contract knows the name's records; zero if nobody owns the name.
    function resolver(bytes32 node) external view returns (address);

    /// @notice Seconds that an answer may be kept; zero where the owner did not say.
    function ttl(bytes32 node) external view returns (uint64);

    /// @notice Whether somebody owns the name.
    function recordExists(bytes32 node) external view returns (bool);

    /// @notice Whether `operator` may act for `owner_`.
    function isApprovedForAll(address owner_, address operator) external view returns (bool);
}
