// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IEnsRegistry} from "../../contracts/interfaces/IEnsRegistry.sol";
import {IRegistry} from "../../contracts/interfaces/IRegistry.sol";
import {RegistryTest} from "./support/RegistryTest.sol";

/// @title Taking a name: commitment, label, duration
contract RegistryTakeTest is RegistryTest {
    function test_ACommittedNameBelongsToWhoCommittedToIt() public {
        prepare(LABEL, alice);
        vm.expectEmit(address(registry));
        emit IEnsRegistry.NewOwner(bytes32(0), keccak256(bytes(LABEL)), alice);
        vm.expectEmit(address(registry));
        emit IEnsRegistry.Transfer(node, alice);
        vm.expectEmit(address(registry));
        emit IEnsRegistry.NewResolver(node, resolver);
        vm.expectEmit(address(registry));
        emit IRegistry.Registered(
            node,
            alice,
            LABEL,
            resolver,
            block.timestamp + DURATION,
            1
        );
        vm.prank(alice);
        bytes32 made = registry.register(LABEL, alice, resolver, DURATION, SECRET);
        vm.assertEq(made, node, "node");
        assertOwner(alice, resolver, "registered");
        assertEq(registry.expiry(node), block.timestamp + DURATION, "expiry");
        assertEq(registry.version(node), 1, "version");
        assertEq(registry.ttl(node), 0, "ttl");
        vm.assertEq(registry.owner(nodeOf("bob")), address(0), "another name");
        assertEq(usdc.balanceOf(alice), 0, "the bond is paid");
        assertEq(usdc.balanceOf(address(registry)), BOND, "the bond is here");
    }

    function test_WhoeverPaysTheNameIsOfWhomTheCommitmentNames() public {
        prepare(LABEL, alice);
        usdc.mint(mallory, BOND);
        vm.startPrank(mallory);
        usdc.approve(address(registry), BOND);
        registry.register(LABEL, alice, resolver, DURATION, SECRET);
        vm.stopPrank();
        assertOwner(alice, resolver, "a gift");
        assertEq(usdc.balanceOf(alice), BOND, "she paid nothing");
        vm.prank(alice);
        registry.unregister(node);
        assertEq(usdc.balanceOf(alice), 2 * BOND, "the bond goes with the name");
    }

    function test_ACommitmentIsToldAndCannotBePutOff() public {
        bytes32 commitment = commitmentOf(LABEL, alice);
        vm.expectEmit(address(registry));
        emit IRegistry.Committed(commitment);
        registry.commit(commitment);
        assertEq(registry.committedAt(commitment), NOW, "when");
        vm.warp(NOW + 24 hours);
        vm.prank(mallory);
        registry.commit(commitment);
        assertEq(registry.committedAt(commitment), NOW, "as long as it can be used");
        vm.warp(NOW + 24 hours + 1);
        registry.commit(commitment);
        assertEq(registry.committedAt(commitment), block.timestamp, "anew");
    }

    function test_ACommitmentIsUsableFromAMinuteToADay() public {
        prepare(LABEL, alice);
        bytes32 commitment = commitmentOf(LABEL, alice);
        vm.warp(NOW + 59);
        expectRevert(
            abi.encodeWithSelector(IRegistry.CommitmentTooNew.selector, commitment, NOW + 60)
        );
        reveal(LABEL, alice);
        vm.warp(NOW + 24 hours + 1);
        expectRevert(
            abi.encodeWithSelector(
                IRegistry.CommitmentTooOld.selector,
                commitment,
                NOW + 24 hours
            )
        );
        reveal(LABEL, alice);
        vm.warp(NOW + 24 hours);
        reveal(LABEL, alice);
        assertOwner(alice, resolver, "in the last second");
    }

    function test_ACommitmentIsGoodForOneRegistration() public {
        take(LABEL, alice);
        vm.prank(alice);
        registry.unregister(node);
        vm.warp(block.timestamp + QUARANTINE);
        _expectMissing(commitmentOf(LABEL, alice));
        reveal(LABEL, alice);
    }

    /// @notice I-15: by the same tuple. Whoever changes any of it has committed to nothing.
    function testFuzz_ACommitmentBindsAllOfIt(uint256 which, uint256 any) public {
        prepare("mallory", alice);
        string memory label = which % 5 == 0 ? "mallary" : "mallory";
        address owner = which % 5 == 1 ? mallory : alice;
        address resolver_ = which % 5 == 2 ? mallory : resolver;
        uint256 duration = which % 5 == 3 ? bound(any, 28 days, 300 days) : DURATION;
        bytes32 secret = which % 5 == 4 ? keccak256(abi.encode(any)) : SECRET;
        _expectMissing(registry.makeCommitment(label, owner, resolver_, duration, secret));
        vm.prank(alice);
        registry.register(label, owner, resolver_, duration, secret);
    }

    function test_ACommitmentIsForOneRegistryOnOneChain() public view {
        bytes32 expected = keccak256(
            abi.encode(
                keccak256(bytes(LABEL)),
                alice,
                resolver,
                DURATION,
                SECRET,
                block.chainid,
                address(registry)
            )
        );
        vm.assertEq(commitmentOf(LABEL, alice), expected, "commitment");
    }

    function _expectMissing(bytes32 commitment) private {
        expectRevert(
            abi.encodeWithSelector(IRegistry.CommitmentMissing.selector, commitment)
        );
    }

    function test_ATakenNameCannotBeTaken() public {
        take(LABEL, alice);
        bytes memory taken = abi.encodeWithSelector(
            IRegistry.NodeTaken.selector,
            node,
            alice
        );
        prepare(LABEL, mallory);
        expectRevert(taken);
        reveal(LABEL, mallory);
        prepare(LABEL, alice);
        expectRevert(taken);
        reveal(LABEL, alice);
    }

    function test_LabelsAreThoseOfDns() public {
        string[10] memory good = [
            "bob",
            "any",
            "www",
            "a-b",
            "0x0",
            "123",
            "ab-c",
            "a--b",
            "abc--d",
            "a23456789-123456789-123456789-123456789-123456789-123456789-123"
        ];
        for (uint256 i = 0; i < good.length; ++i) {
            take(good[i], alice);
            vm.assertEq(registry.owner(nodeOf(good[i])), alice, good[i]);
        }
        string[14] memory bad = [
            "",
            "a",
            "ab",
            "-ab",
            "ab-",
            "ab--c",
            "xn--80ak6aa92e",
            "Abc",
            "a.b",
            "a_b",
            "a b",
            unicode"żaba",
            "a/b",
            "a23456789-123456789-123456789-123456789-123456789-123456789-1234"
        ];
        for (uint256 i = 0; i < bad.length; ++i) _refuse(bad[i]);
    }

    /// @notice Every byte, at the beginning, inside and at the end.
    function test_EveryByteIsALabelsOrNone() public {
        for (uint256 byte_ = 0; byte_ < 256; ++byte_) {
            bytes1 char = bytes1(uint8(byte_));
            bool isPlain = (char >= "a" && char <= "z") || (char >= "0" && char <= "9");
            for (uint256 place = 0; place < 5; place += 2) {
                bytes memory label = bytes("aaaaa");
                label[place] = char;
                bool isLabel = isPlain || (char == "-" && place == 2);
                if (!isLabel) _refuse(string(label));
                else if (registry.version(nodeOf(string(label))) == 0) take(string(label), alice);
            }
        }
    }

    function _refuse(string memory label) private {
        bytes32 commitment = commitmentOf(label, alice);
        registry.commit(commitment);
        vm.warp(block.timestamp + 60);
        expectRevert(abi.encodeWithSelector(IRegistry.LabelInvalid.selector, label));
        reveal(label, alice);
    }

    function test_OwnersAndResolversOfZeroAreRefused() public {
        expectRevert(abi.encodeWithSelector(IRegistry.OwnerZero.selector));
        registry.register(LABEL, address(0), resolver, DURATION, SECRET);
        expectRevert(abi.encodeWithSelector(IRegistry.ResolverZero.selector));
        registry.register(LABEL, alice, address(0), DURATION, SECRET);
    }

    function test_NamesAreTakenForFourWeeksToTenYears() public {
        _expectDuration(28 days - 1, 3650 days);
        registry.register(LABEL, alice, resolver, 28 days - 1, SECRET);
        _expectDuration(3650 days + 1, 3650 days);
        registry.register(LABEL, alice, resolver, 3650 days + 1, SECRET);
        _expectDuration(type(uint256).max, 3650 days);
        registry.register(LABEL, alice, resolver, type(uint256).max, SECRET);

        uint256[2] memory good = [uint256(28 days), 3650 days];
        for (uint256 i = 0; i < good.length; ++i) {
            string memory label = i == 0 ? "short" : "long";
            registry.commit(
                registry.makeCommitment(label, alice, resolver, good[i], SECRET)
            );
            prepare(label, alice);
            vm.prank(alice);
            registry.register(label, alice, resolver, good[i], SECRET);
            assertEq(registry.expiry(nodeOf(label)), block.timestamp + good[i], label);
        }
    }

    function _expectDuration(uint256 seconds_, uint256 secondsMax) private {
        expectRevert(
            abi.encodeWithSelector(
                IRegistry.DurationOutOfRange.selector,
                seconds_,
                28 days,
                secondsMax
            )
        );
    }

    function test_ARenewalReachesTenYearsFromNowAtMost() public {
        take(LABEL, alice);
        vm.startPrank(alice);
        _expectDuration(28 days - 1, 3650 days - DURATION);
        registry.renew(node, 28 days - 1);
        _expectDuration(3650 days - DURATION + 1, 3650 days - DURATION);
        registry.renew(node, 3650 days - DURATION + 1);
        _expectDuration(type(uint256).max, 3650 days - DURATION);
        registry.renew(node, type(uint256).max);

        uint256 expiry = block.timestamp + 3650 days;
        vm.expectEmit(address(registry));
        emit IRegistry.Renewed(node, expiry);
        registry.renew(node, 3650 days - DURATION);
        assertEq(registry.expiry(node), expiry, "expiry");
    }

    function test_ItSaysWhichInterfacesItHas() public view {
        vm.assertTrue(registry.supportsInterface(0x01ffc9a7), "ERC-165");
        vm.assertTrue(registry.supportsInterface(type(IRegistry).interfaceId), "registry");
        vm.assertTrue(registry.supportsInterface(type(IEnsRegistry).interfaceId), "ENS");
        vm.assertTrue(!registry.supportsInterface(0xffffffff), "never all");
        vm.assertTrue(!registry.supportsInterface(0), "nor none");
    }
}
