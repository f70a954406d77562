// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Registry: first come, first served, nobody is an administrator
contract Registry is IRegistry {
    /// @dev Two slots. Each has 96 bits to spare for a name's expiry, version and bond.
    struct Record {
        address owner;
        address resolver;
    }

    mapping(bytes32 node => Record) private records;

    modifier onlyNodeOwner(bytes32 node) {
        address owner_ = records[node].owner;
        require(msg.sender == owner_, NotNodeOwner(node, owner_, msg.sender));
        _;
    }

    /// @inheritdoc IRegistry
    function register(bytes32 node, address resolver_) external {
        require(node != bytes32(0), NodeZero());
        require(resolver_ != address(0), ResolverZero());
        address taken = records[node].owner;
        require(taken == address(0), NodeTaken(node, taken));

        records[node] = Record({owner: msg.sender, resolver: resolver_});

        emit Transfer(node, msg.sender);
        emit NewResolver(node, resolver_);
        emit Registered(node, msg.sender, resolver_);
    }

    /// @inheritdoc IRegistry
    function setResolver(bytes32 node, address resolver_) external onlyNodeOwner(node) {
        require(resolver_ != address(0), ResolverZero());

        records[node].resolver = resolver_;

        emit NewResolver(node, resolver_);
    }

    /// @inheritdoc IRegistry
    function unregister(bytes32 node) external onlyNodeOwner(node) {
        delete records[node];

        emit NewResolver(node, address(0));
        emit Transfer(node, address(0));
        emit Unregistered(node, msg.sender);
    }

    /// @inheritdoc IRegistry
    function owner(bytes32 node) external view returns (address) {
        return records[node].owner;
    }

    /// @inheritdoc IRegistry
    function resolver(bytes32 node) external view returns (address) {
        return records[node].resolver;
    }
}
