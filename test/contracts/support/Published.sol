// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {DevUsdc} from "../../../contracts/DevUsdc.sol";
import {Escrow} from "../../../contracts/Escrow.sol";
import {Registry} from "../../../contracts/Registry.sol";
import {Resolver} from "../../../contracts/Resolver.sol";
import {UniversalResolver} from "../../../contracts/UniversalResolver.sol";
import {IEnsRegistry} from "../../../contracts/interfaces/IEnsRegistry.sol";
import {Vm} from "./Vm.sol";

// What is tested is what is published, byte for byte: a `new` here would compile the contract once more into each test,
// with the settings of tests.

function newEscrow(IERC20 token) returns (Escrow) {
    return Escrow(_create("contracts/Escrow.sol:Escrow", abi.encode(token)));
}

function newRegistry(IERC20 token, uint256 bond) returns (Registry) {
    return Registry(_create("contracts/Registry.sol:Registry", abi.encode(token, bond)));
}

function newResolver(
    address owner,
    address payee,
    string memory server,
    bytes memory pubkey
) returns (Resolver) {
    bytes memory arguments = abi.encode(owner, payee, server, pubkey);
    return Resolver(_create("contracts/Resolver.sol:Resolver", arguments));
}

function newUniversalResolver(IEnsRegistry registry) returns (UniversalResolver) {
    bytes memory arguments = abi.encode(registry);
    return
        UniversalResolver(
            _create("contracts/UniversalResolver.sol:UniversalResolver", arguments)
        );
}

function newDevUsdc() returns (DevUsdc) {
    return DevUsdc(_create("contracts/DevUsdc.sol:DevUsdc", ""));
}

/// @dev As `new` does: what the constructor reverts with is passed on.
function _create(string memory artifact, bytes memory arguments) returns (address created) {
    Vm vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    bytes memory code = bytes.concat(vm.getCode(artifact), arguments);
    assembly ("memory-safe") {
        created := create(0, add(code, 0x20), mload(code))
        if iszero(created) {
            let free := mload(0x40)
            returndatacopy(free, 0, returndatasize())
            revert(free, returndatasize())
        }
    }
}
