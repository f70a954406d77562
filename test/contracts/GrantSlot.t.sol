// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {GrantSlot, GrantSlots} from "../../contracts/GrantSlot.sol";
import {IEscrow} from "../../contracts/interfaces/IEscrow.sol";
import {Test} from "./support/Test.sol";

/// @title The packed word against a plain struct
contract GrantSlotTest is Test {
    function testFuzz_PackingAGrantAndReadingItGivesTheSameGrant(
        IEscrow.Grant calldata grant
    ) public pure {
        GrantSlot slot = GrantSlots.pack(grant);
        _assertSame(slot.unpack(), grant);
        assertEq(slot.spent(), grant.spent, "spent");
        assertEq(slot.budget(), grant.budget, "budget");
        assertEq(slot.price(), grant.price, "price");
        assertEq(slot.calls(), grant.calls, "calls");
        assertEq(slot.expiry(), grant.expiry, "expiry");
    }

    function testFuzz_EveryWordIsAGrant(uint256 word) public pure {
        GrantSlot slot = GrantSlots.pack(GrantSlot.wrap(word).unpack());
        assertEq(GrantSlot.unwrap(slot), word, "the same word");
    }

    function testFuzz_ChargingMovesMoneyAndCountsCallsAndNothingElse(
        IEscrow.Grant memory grant,
        uint256 paid_,
        uint256 calls_
    ) public pure {
        uint256 room = type(uint64).max - grant.spent;
        uint256 paid = bound(paid_, 0, grant.budget < room ? grant.budget : room);
        uint256 calls = bound(calls_, 0, type(uint32).max - grant.calls);
        GrantSlot slot = GrantSlots.pack(grant).charge(paid, calls);

        grant.spent += uint64(paid);
        grant.budget -= uint64(paid);
        grant.calls += uint32(calls);
        _assertSame(slot.unpack(), grant);

        uint256 usage = slot.usage(paid);
        assertEq(uint64(usage), grant.spent, "usage: spent");
        assertEq(uint64(usage >> 64), grant.budget, "usage: budget");
        assertEq(uint64(usage >> 128), paid, "usage: paid");
        assertEq(usage >> 192, grant.calls, "usage: calls");
    }

    function _assertSame(
        IEscrow.Grant memory got,
        IEscrow.Grant memory wanted
    ) private pure {
        vm.assertEq(abi.encode(got), abi.encode(wanted), "every member");
    }
}
