// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title ENS: the account of a name (EIP-137)
interface IEnsAddr {
    /// @notice The account behind the name.
    function addr(bytes32 node) external view returns (address payable);
}

/// @title ENS: the account of a name on a chain (ENSIP-9 and ENSIP-11)
interface IEnsAddress {
    /// @notice The account behind the name, as bytes; empty where it has none on that chain.
    /// @param coinType 60 for Ethereum, `0x80000000 | chainId` for other chains of its kind.
    function addr(bytes32 node, uint256 coinType) external view returns (bytes memory);
}

/// @title ENS: text records (ENSIP-5)
interface IEnsText {
    /// @notice As in ENS: a text of the name changed.
    event TextChanged(
        bytes32 indexed node,
        string indexed indexedKey,
        string key,
        string value
    );

    /// @notice A text of the name; empty where it has none under this key.
    function text(bytes32 node, string calldata key) external view returns (string memory);
}

/// @title ENS: what a name stands for (ENSIP-7)
interface IEnsContenthash {
    /// @notice As in ENS: what the name stands for changed.
    event ContenthashChanged(bytes32 indexed node, bytes hash);

    /// @notice What the name stands for, as ENSIP-7 has it: for a CID, `0xe301` and its bytes.
    function contenthash(bytes32 node) external view returns (bytes memory);
}

/// @title ENS: records that can be cleared at once
interface IEnsVersionable {
    /// @notice As in ENS: the records of the name that have nodes are empty again.
    event VersionChanged(bytes32 indexed node, uint64 newVersion);

    /// @notice How often the records of the name were cleared.
    function recordVersions(bytes32 node) external view returns (uint64);
}

/// @title ENS: several calls in one
interface IEnsMulticall {
    /// @notice Does all of `calls` or none, for the caller.
    function multicall(bytes[] calldata calls) external returns (bytes[] memory answers);
}
