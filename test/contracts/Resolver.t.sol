// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Resolver} from "../../contracts/Resolver.sol";
import {IResolver} from "../../contracts/interfaces/IResolver.sol";
import {Test} from "./support/Test.sol";

contract ResolverTest is Test {
    address private alice = account("alice");
    address private mallory = account("mallory");
    address private payee = account("payee");
    Resolver private resolver = new Resolver(alice, payee, "https://a.example", hex"3082");

    function test_ItAnswersWhatItWasMadeWith() public view {
        vm.assertEq(resolver.owner(), alice, "owner");
        vm.assertEq(resolver.addr(), payee, "addr");
        vm.assertEq(resolver.server(), "https://a.example", "server");
        vm.assertEq(resolver.pubkey(), hex"3082", "pubkey");
    }

    function test_ItsOwnerChangesItsRecords() public {
        vm.startPrank(alice);
        vm.expectEmit(address(resolver));
        emit IResolver.AddrChanged(mallory);
        resolver.setAddr(mallory);
        vm.expectEmit(address(resolver));
        emit IResolver.ServerChanged("http://b.example:8080");
        resolver.setServer("http://b.example:8080");
        vm.expectEmit(address(resolver));
        emit IResolver.PubkeyChanged(hex"3083");
        resolver.setPubkey(hex"3083");
        vm.assertEq(resolver.addr(), mallory, "addr");
        vm.assertEq(resolver.server(), "http://b.example:8080", "server");
        vm.assertEq(resolver.pubkey(), hex"3083", "pubkey");
    }

    function test_NobodyElseDoes() public {
        vm.startPrank(mallory);
        bytes memory notOwner = abi.encodeWithSelector(IResolver.NotOwner.selector, mallory);
        vm.expectRevert(notOwner);
        resolver.setAddr(mallory);
        vm.expectRevert(notOwner);
        resolver.setServer("");
        vm.expectRevert(notOwner);
        resolver.setPubkey("");
    }

    function test_ZeroCouldSignNothing() public {
        bytes memory zero = abi.encodeWithSelector(IResolver.AddressZero.selector);
        vm.expectRevert(zero);
        new Resolver(address(0), payee, "", "");
        vm.expectRevert(zero);
        new Resolver(alice, address(0), "", "");
        vm.expectRevert(zero);
        vm.prank(alice);
        resolver.setAddr(address(0));
    }

    function test_RecordsHaveBounds() public {
        vm.startPrank(alice);
        resolver.setServer(string(new bytes(512)));
        resolver.setPubkey(new bytes(1024));
        _expectTooLong(513, 512);
        resolver.setServer(string(new bytes(513)));
        _expectTooLong(1025, 1024);
        resolver.setPubkey(new bytes(1025));
        _expectTooLong(513, 512);
        new Resolver(alice, payee, string(new bytes(513)), "");
        _expectTooLong(1025, 1024);
        new Resolver(alice, payee, "", new bytes(1025));
    }

    function _expectTooLong(uint256 length, uint256 lengthMax) private {
        vm.expectRevert(
            abi.encodeWithSelector(IResolver.RecordTooLong.selector, length, lengthMax)
        );
    }
}
