// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../contracts/DevUsdc.sol";
import {Escrow} from "../../contracts/Escrow.sol";
import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {EscrowHandler} from "./support/EscrowHandler.sol";
import {Test} from "./support/Test.sol";

/// @title What holds after any sequence of actions of anybody
/// @dev To run this file alone, name the handler's as well: the runner calls only what it compiled.
contract EscrowInvariantsTest is Test {
    DevUsdc private usdc;
    Escrow private escrow;
    EscrowHandler private handler;

    function setUp() public {
        vm.warp(NOW);
        usdc = new DevUsdc();
        escrow = new Escrow(usdc);
        handler = new EscrowHandler(escrow, usdc);
    }

    /// @dev Read by the test runner: it calls the actions of these and nothing else.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    /// @notice I-2, I-3, I-6, I-7, I-9, I-11: the handler compares after each action.
    function invariant_EveryActionDoesWhatTheModelDoes() public view {
        vm.assertEq(handler.violation(), "", "violation");
    }

    /// @notice I-1.
    function invariant_EverythingOwedIsThere() public view {
        uint256 owed = 0;
        for (uint256 i = 0; i < 4; ++i) owed += escrow.balanceOf(handler.accounts(i));
        for (uint256 where = 0; where < handler.laneCount(); ++where) owed += _budget(where);
        assertEq(escrow.totalHeld(), owed, "held is what is owed");
        assertEq(usdc.balanceOf(address(escrow)), owed + handler.donated(), "solvent");
    }

    function _budget(uint256 where) private view returns (uint256) {
        (address payer, address provider, address signer) = handler.placeOf(where);
        return escrow.grantOf(payer, provider, signer).budget;
    }

    /// @notice I-8: all metered grants are collected at once, and everybody withdraws.
    function invariant_AllGrantsCanBeCollectedInFullAtOnce() public {
        _collectEverything(0);
        _withdrawEverything();
        _assertOnlySignedBudgetsAreLeft();
    }

    /// @notice I-8 in another order: backwards, and a withdrawal after each settlement.
    function invariant_AllGrantsCanBeCollectedInFullInAnotherOrder() public {
        for (uint256 i = 2; i > 0; --i) {
            _collect(handler.providers(i - 1), 2);
            _withdrawEverything();
        }
        _assertOnlySignedBudgetsAreLeft();
    }

    function _collectEverything(uint256 first) private {
        for (uint256 i = 0; i < 2; ++i) _collect(handler.providers(i), first);
    }

    function _collect(address provider, uint256 first) private {
        bytes memory rows = "";
        uint256 expected = escrow.balanceOf(provider);
        for (uint256 i = 0; i < 3; ++i) {
            address payer = handler.payers((first + i) % 3);
            IEscrow.Grant memory grant = escrow.grantOf(payer, provider, address(0));
            uint256 calls = grant.price == 0 ? 0 : (grant.budget + grant.price - 1) / grant.price;
            expected += grant.budget;
            rows = bytes.concat(
                rows,
                abi.encodePacked(
                    payer,
                    uint64(grant.spent + grant.budget),
                    uint32(grant.calls + calls)
                )
            );
        }
        vm.prank(provider);
        escrow.settle(rows, "root");
        assertEq(escrow.balanceOf(provider), expected, "I-8: collected in full");
    }

    function _withdrawEverything() private {
        for (uint256 i = 0; i < 4; ++i) {
            address owner = handler.accounts(i);
            uint256 balance = escrow.balanceOf(owner);
            if (balance == 0) continue;
            vm.prank(owner);
            escrow.withdraw(balance);
        }
    }

    function _assertOnlySignedBudgetsAreLeft() private view {
        uint256 left = 0;
        for (uint256 where = 0; where < handler.laneCount(); ++where) left += _budget(where);
        assertEq(escrow.totalHeld(), left, "held");
        assertEq(usdc.balanceOf(address(escrow)), left + handler.donated(), "in the token");
        for (uint256 i = 0; i < 4; ++i) {
            assertEq(escrow.balanceOf(handler.accounts(i)), 0, "withdrawn");
        }
    }

    /// @notice I-10: payers alone get all of it back within the longest notice.
    function invariant_PayersAloneRecoverEverything() public {
        uint256 last = 0;
        for (uint256 where = 0; where < handler.laneCount(); ++where) {
            uint256 from = _revoke(where);
            if (from > last) last = from;
        }
        vm.warp(last);
        for (uint256 where = 0; where < handler.laneCount(); ++where) _reclaim(where);
        _withdrawEverything();
        assertEq(escrow.totalHeld(), 0, "nothing is left");
        assertEq(usdc.balanceOf(address(escrow)), handler.donated(), "but donations");
    }

    /// @return from When it may be reclaimed: at most 255 hours from now or from its end.
    function _revoke(uint256 where) private returns (uint256 from) {
        (address payer, address provider, address signer) = handler.placeOf(where);
        IEscrow.Grant memory grant = escrow.grantOf(payer, provider, signer);
        if (grant.expiry == 0) return 0;
        if (grant.expiry > block.timestamp) {
            vm.prank(payer);
            escrow.revoke(provider, signer);
        }
        grant = escrow.grantOf(payer, provider, signer);
        return grant.expiry + grant.notice * uint256(1 hours);
    }

    function _reclaim(uint256 where) private {
        (address payer, address provider, address signer) = handler.placeOf(where);
        IEscrow.Grant memory grant = escrow.grantOf(payer, provider, signer);
        if (grant.expiry == 0) return;
        vm.prank(payer);
        escrow.reclaim(provider, signer);
    }

    // ------------------------------------------------- the invariants are not empty

    /// @notice The actions above go through every branch: the invariants hold of something.
    function test_TheActionsReachEveryBranchOfTheEscrow() public {
        uint256 seed = 7;
        for (uint256 step = 0; step < 400; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(step % 12, seed);
        }
        vm.assertEq(handler.violation(), "", "violation");
        string[18] memory branches = [
            "deposit",
            "withdraw",
            "donate",
            "overdraw",
            "approve: opens",
            "approve: improves",
            "approve: short form",
            "cut",
            "revoke",
            "reclaim: too early",
            "reclaim",
            "time passes",
            "consume",
            "settle: replay",
            "settle: no grant",
            "settle: nothing due",
            "settle: above the price",
            "settle: no budget"
        ];
        for (uint256 i = 0; i < branches.length; ++i) _assertReached(branches[i]);
        _assertReached("settle: in part");
        _assertReached("settle: paid");
        invariant_EverythingOwedIsThere();
        invariant_AllGrantsCanBeCollectedInFullAtOnce();
        invariant_PayersAloneRecoverEverything();
    }

    function _assertReached(string memory branch) private view {
        vm.assertTrue(handler.reached(branch) >= 3, string.concat("reached: ", branch));
    }

    function _act(uint256 action, uint256 seed) private {
        uint256 a = seed >> 16;
        uint256 b = seed >> 80;
        uint256 c = seed >> 144;
        if (action == 0) handler.deposit(a, b);
        if (action == 1) handler.withdraw(a, b);
        if (action == 2) handler.donate(a);
        if (action == 3) handler.overdraw(a, b);
        if (action == 4) handler.approve(a, b, c, seed);
        if (action == 5) handler.approveShort(a, b);
        if (action == 6) handler.cut(a, b);
        if (action == 7) handler.revoke(a);
        if (action == 8) handler.reclaim(a);
        if (action == 9) handler.pass(a);
        if (action == 10) handler.consume(a, b);
        if (action == 11) handler.settle(a, b, c);
    }
}
