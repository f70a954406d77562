// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Registry} from "../../contracts/Registry.sol";
import {IRegistry} from "../../contracts/interfaces/IRegistry.sol";
import {newRegistry} from "./support/Published.sol";
import {RegistryTest} from "./support/RegistryTest.sol";
import {FaultyToken} from "./support/Tokens.sol";

/// @title A token that fails harms whoever it fails, and no other name
contract RegistryFaultyTokenTest is RegistryTest {
    FaultyToken private token;
    address private bob = account("bob");

    function setUp() public override {
        vm.warp(NOW);
        token = new FaultyToken();
        registry = newRegistry(token, BOND);
        _fund(alice);
        _fund(bob);
    }

    function _fund(address who) private {
        token.mint(who, 10 * BOND);
        vm.prank(who);
        token.approve(address(registry), 10 * BOND);
    }

    function _commit(string memory label, address who) private {
        registry.commit(commitmentOf(label, who));
        vm.warp(block.timestamp + 60);
    }

    function _take(string memory label, address who) private {
        _commit(label, who);
        reveal(label, who);
    }

    function test_ABondThatDoesNotArriveInFullRegistersNothing() public {
        _commit(LABEL, alice);
        token.setFault(FaultyToken.Fault.Fee);
        _expectMoved(BOND - 1);
        reveal(LABEL, alice);
        token.setFault(FaultyToken.Fault.Lies);
        _expectMoved(0);
        reveal(LABEL, alice);
        token.setFault(FaultyToken.Fault.Gives);
        _expectMoved(BOND + 1);
        reveal(LABEL, alice);
        token.setFault(FaultyToken.Fault.ReturnsFalse);
        vm.expectPartialRevert(bytes4(keccak256("SafeERC20FailedOperation(address)")));
        reveal(LABEL, alice);
        token.setFault(FaultyToken.Fault.Paused);
        vm.expectRevert(FaultyToken.Refused.selector);
        reveal(LABEL, alice);
        assertOwner(address(0), address(0), "nobody's");
        token.setFault(FaultyToken.Fault.None);
        reveal(LABEL, alice);
        assertOwner(alice, resolver, "the commitment was not used up");
    }

    function test_ABondThatDoesNotLeaveInFullStaysAndSoDoesTheName() public {
        _take(LABEL, alice);
        token.setFault(FaultyToken.Fault.Lies);
        _expectMoved(0);
        vm.prank(alice);
        registry.unregister(node);
        token.setFault(FaultyToken.Fault.Paused);
        vm.expectRevert(FaultyToken.Refused.selector);
        vm.prank(alice);
        registry.unregister(node);
        assertOwner(alice, resolver, "still hers");
        token.setFault(FaultyToken.Fault.None);
        vm.prank(alice);
        registry.unregister(node);
        assertEq(token.balanceOf(alice), 10 * BOND, "back");
    }

    function test_ARefundThatDoesNotLeaveIsStillDue() public {
        _take(LABEL, alice);
        vm.warp(registry.freeFrom(node));
        _take(LABEL, bob);
        token.setFault(FaultyToken.Fault.Lies);
        _expectMoved(0);
        vm.prank(alice);
        registry.withdrawRefund();
        assertEq(registry.refundOf(alice), BOND, "still due");
    }

    /// @notice A last owner whom the token refuses does not keep its name from others.
    function test_ABlacklistedOwnerStopsNobody() public {
        _take(LABEL, alice);
        token.blacklist(alice);
        vm.warp(registry.freeFrom(node));
        _take(LABEL, bob);
        assertOwner(bob, resolver, "the next owner");
        assertEq(registry.refundOf(alice), BOND, "should it ever be let off");
    }

    function test_ATokenThatCallsBackChangesNothingMeanwhile() public {
        _take(LABEL, alice);
        bytes[3] memory calls = [
            abi.encodeCall(Registry.unregister, (node)),
            abi.encodeCall(Registry.withdrawRefund, ()),
            abi.encodeCall(Registry.register, ("second", alice, resolver, DURATION, SECRET))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            string memory label = string.concat("name-", i == 0 ? "0" : i == 1 ? "1" : "2");
            token.setHook(address(registry), calls[i]);
            _take(label, bob);
            vm.assertTrue(!token.hookSucceeded(), label);
            vm.assertEq(
                token.hookAnswer(),
                abi.encodeWithSelector(
                    ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector
                ),
                label
            );
        }
    }

    function _expectMoved(uint256 moved) private {
        expectRevert(
            abi.encodeWithSelector(IRegistry.TokenMovedOther.selector, moved, BOND)
        );
    }
}
