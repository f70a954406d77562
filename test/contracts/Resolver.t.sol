// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Resolver} from "../../contracts/Resolver.sol";
import {
    IEnsContenthash,
    IEnsText,
    IEnsVersionable
} from "../../contracts/interfaces/IEnsResolver.sol";
import {IResolver} from "../../contracts/interfaces/IResolver.sol";
import {newResolver} from "./support/Published.sol";
import {Test} from "./support/Test.sol";

contract ResolverTest is Test {
    address private alice = account("alice");
    address private mallory = account("mallory");
    address private payee = account("payee");
    Resolver private resolver = newResolver(alice, payee, "https://a.example", hex"3082");

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
        newResolver(address(0), payee, "", "");
        vm.expectRevert(zero);
        newResolver(alice, address(0), "", "");
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
        newResolver(alice, payee, string(new bytes(513)), "");
        _expectTooLong(1025, 1024);
        newResolver(alice, payee, "", new bytes(1025));
    }

    function _expectTooLong(uint256 length, uint256 lengthMax) private {
        vm.expectRevert(
            abi.encodeWithSelector(IResolver.RecordTooLong.selector, length, lengthMax)
        );
    }

    // ---------------------------------------------------------------- its names

    bytes32 private constant NODE = keccak256("node");

    function test_EveryNameHasTheProvidersAccount() public {
        vm.assertEq(resolver.addr(NODE), payee, "addr");
        vm.assertEq(resolver.addr(NODE, 60), abi.encodePacked(payee), "Ethereum");
        bytes memory here = resolver.addr(NODE, 0x80000000 | block.chainid);
        vm.assertEq(here, abi.encodePacked(payee), "this chain");
        vm.assertEq(resolver.addr(NODE, 0), "", "Bitcoin");
        vm.assertEq(resolver.addr(NODE, block.chainid), "", "another coin");
        vm.prank(alice);
        resolver.setAddr(mallory);
        vm.assertEq(resolver.addr(NODE), mallory, "changed");
    }

    function test_NamesHaveTextsAndAContenthash() public {
        vm.startPrank(alice);
        vm.expectEmit(address(resolver));
        emit IEnsText.TextChanged(NODE, "url", "url", "https://a.example");
        resolver.setText(NODE, "url", "https://a.example");
        vm.expectEmit(address(resolver));
        emit IEnsContenthash.ContenthashChanged(NODE, hex"e301");
        resolver.setContenthash(NODE, hex"e301");
        vm.assertEq(resolver.text(NODE, "url"), "https://a.example", "text");
        vm.assertEq(resolver.contenthash(NODE), hex"e301", "contenthash");
        vm.assertEq(resolver.text(NODE, "URL"), "", "another key");
        vm.assertEq(resolver.text("other", "url"), "", "another name");
        vm.assertEq(resolver.contenthash("other"), "", "another name");
        resolver.setText(NODE, "url", "");
        vm.assertEq(resolver.text(NODE, "url"), "", "no more");
    }

    function test_ClearingEmptiesTheRecordsOfOneName() public {
        vm.startPrank(alice);
        bytes32[2] memory nodes = [NODE, bytes32("other")];
        for (uint256 i = 0; i < 2; ++i) {
            resolver.setText(nodes[i], "url", "u");
            resolver.setContenthash(nodes[i], hex"01");
        }
        vm.expectEmit(address(resolver));
        emit IEnsVersionable.VersionChanged(NODE, 1);
        resolver.clearRecords(NODE);
        vm.assertTrue(resolver.recordVersions(NODE) == 1, "version");
        vm.assertEq(resolver.text(NODE, "url"), "", "text");
        vm.assertEq(resolver.contenthash(NODE), "", "contenthash");
        vm.assertEq(resolver.text("other", "url"), "u", "another's text");
        vm.assertEq(resolver.contenthash("other"), hex"01", "another's contenthash");
        vm.assertEq(resolver.server(), "https://a.example", "the provider's own");
        resolver.setText(NODE, "url", "new");
        vm.assertEq(resolver.text(NODE, "url"), "new", "afterwards");
    }

    function test_NobodyElseChangesThem() public {
        vm.startPrank(mallory);
        bytes memory notOwner = abi.encodeWithSelector(IResolver.NotOwner.selector, mallory);
        vm.expectRevert(notOwner);
        resolver.setText(NODE, "url", "u");
        vm.expectRevert(notOwner);
        resolver.setContenthash(NODE, hex"01");
        vm.expectRevert(notOwner);
        resolver.clearRecords(NODE);
        bytes[] memory calls = new bytes[](1);
        calls[0] = abi.encodeCall(Resolver.setServer, ("https://m.example"));
        vm.expectRevert(notOwner);
        resolver.multicall(calls);
    }

    function test_TheRecordsOfNamesHaveBounds() public {
        vm.startPrank(alice);
        string memory key = string(new bytes(64));
        resolver.setText(NODE, key, string(new bytes(2048)));
        resolver.setContenthash(NODE, new bytes(256));
        _expectTooLong(65, 64);
        resolver.setText(NODE, string(new bytes(65)), "");
        _expectTooLong(2049, 2048);
        resolver.setText(NODE, "key", string(new bytes(2049)));
        _expectTooLong(257, 256);
        resolver.setContenthash(NODE, new bytes(257));
    }

    function test_SeveralCallsAreOneAndAllOrNone() public {
        bytes[] memory calls = new bytes[](3);
        calls[0] = abi.encodeCall(Resolver.setText, (NODE, "url", "u"));
        calls[1] = abi.encodeCall(Resolver.setServer, ("https://b.example"));
        calls[2] = abi.encodeCall(Resolver.text, (NODE, "url"));
        vm.prank(alice);
        bytes[] memory answers = resolver.multicall(calls);
        vm.assertEq(answers[2], abi.encode("u"), "an answer");
        vm.assertEq(resolver.server(), "https://b.example", "server");

        calls[0] = abi.encodeCall(Resolver.setText, (NODE, "url", "v"));
        calls[2] = abi.encodeCall(Resolver.setAddr, (address(0)));
        vm.expectRevert(abi.encodeWithSelector(IResolver.AddressZero.selector));
        vm.prank(alice);
        resolver.multicall(calls);
        vm.assertEq(resolver.text(NODE, "url"), "u", "as it was");
    }

    /// @notice The ids that ENS clients ask for, as numbers.
    function test_ItSaysWhichInterfacesItHas() public view {
        bytes4[8] memory ids = [
            bytes4(0x01ffc9a7),
            0x3b3b57de,
            0xf1cb7e06,
            0x59d1d43c,
            0xbc1c58d1,
            0xd700ff33,
            0xac9650d8,
            type(IResolver).interfaceId
        ];
        for (uint256 i = 0; i < ids.length; ++i) {
            vm.assertTrue(resolver.supportsInterface(ids[i]), "supported");
        }
        vm.assertTrue(!resolver.supportsInterface(0xffffffff), "never all");
        // IExtendedResolver: it answers for no name but those that it was asked for.
        vm.assertTrue(!resolver.supportsInterface(0x9061b923), "no wildcard");
    }
}
