// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title What ENS clients ask of a universal resolver
/// @notice A client needs no more than its address to read names: it finds the resolver and asks
/// it in one call. Functions and errors are those of ENS's own, which knows ENS's registry only.
/// Names are in DNS wire format: `0x05 "alice" 0x00`.
interface IUniversalResolver {
    /// @notice The name is not in DNS wire format.
    error DNSDecodingFailed(bytes dns);
    /// @notice Nobody owns the name. There are no wildcards: names under a name are nobody's.
    error ResolverNotFound(bytes name);
    /// @notice The name points to an account without code.
    error ResolverNotContract(bytes name, address resolver);
    /// @notice The resolver says that it knows no such record.
    error UnsupportedResolverProfile(bytes4 selector);
    /// @notice The resolver refuses.
    error ResolverError(bytes errorData);

    /// @notice The resolver of a name, its node, and where in `name` it was found: at 0.
    function findResolver(
        bytes calldata name
    ) external view returns (address resolver, bytes32 node, uint256 offset);

    /// @notice Asks the resolver of a name.
    /// Warning: a resolver is anybody's code; the answer is its own word.
    /// @param data A call such as `text(node, key)`.
    /// @return result What the resolver answers, ABI-encoded as that call's answer.
    function resolve(
        bytes calldata name,
        bytes calldata data
    ) external view returns (bytes memory result, address resolver);

    /// @notice The same. Nothing is looked up outside of the chain, so `gateways` are not asked.
    function resolveWithGateways(
        bytes calldata name,
        bytes calldata data,
        string[] calldata gateways
    ) external view returns (bytes memory result, address resolver);
}
