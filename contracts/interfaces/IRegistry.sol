// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Names and who answers for them
/// @notice A name is known by its node, the ENS namehash of a name of one label:
/// `keccak256(bytes32(0) ‖ keccak256(label))`. Its owner points it to a resolver.
interface IRegistry {
    /// @notice `node` now belongs to `owner` and is resolved by `resolver`.
    event Registered(bytes32 indexed node, address indexed owner, address resolver);
    /// @notice `owner` gave `node` back; anybody may register it.
    event Unregistered(bytes32 indexed node, address indexed owner);
    /// @notice As in ENS: the owner of `node` changed; zero means that nobody owns it.
    event Transfer(bytes32 indexed node, address owner);
    /// @notice As in ENS: the resolver of `node` changed; zero means that there is none.
    event NewResolver(bytes32 indexed node, address resolver);

    /// @notice The zero node is the root of all names and belongs to nobody.
    error NodeZero();
    /// @notice Somebody owns this name.
    error NodeTaken(bytes32 node, address owner);
    /// @notice Only the owner of the name may do this; zero means that nobody owns it.
    error NotNodeOwner(bytes32 node, address owner, address caller);
    /// @notice A name needs a resolver. To stop it from resolving, unregister it.
    error ResolverZero();

    /// @notice Takes a free name for the caller.
    function register(bytes32 node, address resolver_) external;

    /// @notice Points the caller's name to another resolver.
    function setResolver(bytes32 node, address resolver_) external;

    /// @notice Gives the caller's name back.
    function unregister(bytes32 node) external;

    /// @notice Who owns the name; zero if nobody.
    function owner(bytes32 node) external view returns (address);

    /// @notice Which contract knows the name's records; zero if the name is free.
    function resolver(bytes32 node) external view returns (address);
}
