// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title The cheat codes that these tests use, out of the many that Hardhat's test runner knows
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function prank(address sender) external;

    function startPrank(address sender) external;

    function stopPrank() external;

    function warp(uint256 timestamp) external;

    function load(address account, bytes32 slot) external view returns (bytes32);

    function store(address account, bytes32 slot, bytes32 value) external;

    function sign(
        uint256 privateKey,
        bytes32 digest
    ) external pure returns (uint8 v, bytes32 r, bytes32 s);

    function addr(uint256 privateKey) external pure returns (address);

    function etch(address account, bytes calldata code) external;

    /// @dev The code that makes a contract, as its artifact has it: "<file>:<contract>".
    function getCode(string calldata artifact) external view returns (bytes memory);

    function assume(bool condition) external pure;

    function expectRevert(bytes calldata reason) external;

    function expectRevert(bytes4 selector) external;

    /// @dev Looks at the beginning of the calldata, and at the gas that is passed on.
    function expectCall(address callee, uint256 value, uint64 gas, bytes calldata data) external;

    /// @dev Looks at the selector only.
    function expectPartialRevert(bytes4 selector) external;

    function expectEmit(address emitter) external;

    function recordLogs() external;

    function getRecordedLogs() external returns (Log[] memory);

    function assertTrue(bool condition, string calldata what) external pure;

    function assertEq(uint256 got, uint256 wanted, string calldata what) external pure;

    function assertEq(address got, address wanted, string calldata what) external pure;

    function assertEq(bytes32 got, bytes32 wanted, string calldata what) external pure;

    function assertEq(string calldata got, string calldata wanted, string calldata what)
        external
        pure;

    function assertEq(bytes calldata got, bytes calldata wanted, string calldata what)
        external
        pure;
}
