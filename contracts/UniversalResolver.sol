// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IEnsRegistry} from "./interfaces/IEnsRegistry.sol";
import {IUniversalResolver} from "./interfaces/IUniversalResolver.sol";

/// @title Universal resolver: one address by which ENS clients read this registry
contract UniversalResolver is IUniversalResolver {
    uint256 private constant LABEL_BYTES_MAX = 63;

    /// @notice Whose names it reads.
    IEnsRegistry public immutable registry;

    constructor(IEnsRegistry registry_) {
        registry = registry_;
    }

    /// @inheritdoc IUniversalResolver
    function findResolver(
        bytes calldata name
    ) public view returns (address resolver, bytes32 node, uint256 offset) {
        node = _nodeOf(name, 0);
        resolver = registry.resolver(node);
        offset = 0;
    }

    /// @inheritdoc IUniversalResolver
    function resolve(
        bytes calldata name,
        bytes calldata data
    ) external view returns (bytes memory result, address resolver) {
        return _resolve(name, data);
    }

    /// @inheritdoc IUniversalResolver
    function resolveWithGateways(
        bytes calldata name,
        bytes calldata data,
        string[] calldata
    ) external view returns (bytes memory result, address resolver) {
        return _resolve(name, data);
    }

    function _resolve(
        bytes calldata name,
        bytes calldata data
    ) private view returns (bytes memory result, address resolver) {
        (resolver, , ) = findResolver(name);
        require(resolver != address(0), ResolverNotFound(name));
        require(resolver.code.length != 0, ResolverNotContract(name, resolver));
        bool done;
        (done, result) = resolver.staticcall(data);
        require(done, ResolverError(result));
        require(result.length != 0, UnsupportedResolverProfile(bytes4(data)));
    }

    /// @dev The namehash of what `name` has from `start` on.
    function _nodeOf(bytes calldata name, uint256 start) private pure returns (bytes32) {
        require(start < name.length, DNSDecodingFailed(name));
        uint256 size = uint8(name[start]);
        uint256 next = start + 1 + size;
        if (size == 0) {
            require(next == name.length, DNSDecodingFailed(name));
            return bytes32(0);
        }
        require(size <= LABEL_BYTES_MAX && next < name.length, DNSDecodingFailed(name));
        bytes32 label = keccak256(name[start + 1:next]);
        return keccak256(abi.encode(_nodeOf(name, next), label));
    }
}
