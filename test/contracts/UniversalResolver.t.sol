// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Resolver} from "../../contracts/Resolver.sol";
import {UniversalResolver} from "../../contracts/UniversalResolver.sol";
import {IEnsAddr, IEnsText} from "../../contracts/interfaces/IEnsResolver.sol";
import {IUniversalResolver} from "../../contracts/interfaces/IUniversalResolver.sol";
import {newResolver, newUniversalResolver} from "./support/Published.sol";
import {RegistryTest} from "./support/RegistryTest.sol";

/// @title A contract that answers nothing to whatever it is asked
contract Silence {
    fallback() external {}
}

contract UniversalResolverTest is RegistryTest {
    bytes private constant ALICE = "\x05alice\x00";

    UniversalResolver private universal;
    Resolver private records;
    string[] private gateways;

    function setUp() public override {
        super.setUp();
        universal = newUniversalResolver(registry);
        records = newResolver(alice, account("payee"), "", "");
        take(LABEL, alice);
        vm.startPrank(alice);
        registry.setResolver(node, address(records));
        records.setText(node, "url", "https://a.example");
        vm.stopPrank();
    }

    function test_ItFindsANamesResolver() public view {
        (address found, bytes32 place, uint256 offset) = universal.findResolver(ALICE);
        vm.assertEq(found, address(records), "resolver");
        vm.assertEq(place, node, "node");
        assertEq(offset, 0, "offset");
        (found, place, ) = universal.findResolver("\x03www\x05alice\x00");
        vm.assertEq(found, address(0), "no wildcards");
        vm.assertEq(place, keccak256(abi.encodePacked(node, keccak256("www"))), "node");
        (, place, ) = universal.findResolver("\x00");
        vm.assertEq(place, bytes32(0), "the root");
    }

    function test_ItAsksTheResolver() public view {
        bytes memory call = abi.encodeCall(IEnsText.text, (node, "url"));
        (bytes memory result, address by) = universal.resolve(ALICE, call);
        vm.assertEq(result, abi.encode("https://a.example"), "text");
        vm.assertEq(by, address(records), "resolver");
        call = abi.encodeCall(IEnsAddr.addr, (node));
        (result, ) = universal.resolveWithGateways(ALICE, call, gateways);
        vm.assertEq(result, abi.encode(account("payee")), "addr");
    }

    function test_ItSaysWhyThereIsNoAnswer() public {
        bytes memory call = abi.encodeCall(IEnsAddr.addr, (node));
        bytes memory bob = "\x03bob\x00";
        _expect(abi.encodeWithSelector(IUniversalResolver.ResolverNotFound.selector, bob));
        universal.resolve(bob, call);

        _point(account("nobody"));
        _expect(
            abi.encodeWithSelector(
                IUniversalResolver.ResolverNotContract.selector,
                ALICE,
                account("nobody")
            )
        );
        universal.resolve(ALICE, call);

        _point(address(new Silence()));
        _expect(
            abi.encodeWithSelector(
                IUniversalResolver.UnsupportedResolverProfile.selector,
                IEnsAddr.addr.selector
            )
        );
        universal.resolve(ALICE, call);

        // A resolver that has no such function reverts without a reason.
        _point(address(usdc));
        _expect(abi.encodeWithSelector(IUniversalResolver.ResolverError.selector, ""));
        universal.resolve(ALICE, call);
    }

    function _point(address to) private {
        vm.prank(alice);
        registry.setResolver(node, to);
    }

    function test_WhatIsNoNameInWireFormatIsRefused() public {
        bytes[7] memory bad = [
            bytes(""),
            "\x05alice",
            "\x05alic",
            "\x05alice\x00\x00",
            "\x00\x05alice\x00",
            bytes(unicode"\x06alice\x00"),
            abi.encodePacked(uint8(64), new bytes(64), uint8(0))
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            _expect(
                abi.encodeWithSelector(IUniversalResolver.DNSDecodingFailed.selector, bad[i])
            );
            universal.findResolver(bad[i]);
        }
    }

    function _expect(bytes memory reason) private {
        vm.expectRevert(reason);
    }
}
