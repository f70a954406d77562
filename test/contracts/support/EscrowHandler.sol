// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../../contracts/DevUsdc.sol";
import {Escrow} from "../../../contracts/Escrow.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {EscrowModel} from "./EscrowModel.sol";
import {Signing} from "./Signing.sol";
import {Test} from "./Test.sol";
import {Vm} from "./Vm.sol";

/// @title What payers, providers and strangers may do to an escrow, in any order
/// @dev No action reverts: each makes its own preconditions, and an attempt that the escrow must
/// refuse is made by a low-level call. Each action is done to the model too. What is found wrong
/// is kept in `violation`; that every branch is reached is shown by `reached`.
abstract contract EscrowHandler is EscrowModel, Signing, Test {
    /// @dev What the model says of each row of a batch.
    struct Rows {
        address[] payers;
        Outcome[] outcomes;
        uint256[] paid;
    }

    Escrow public immutable escrow;
    DevUsdc public immutable usdc;

    /// @dev The third payer is a provider as well, and may grant itself.
    address[] public payers;
    address[] public providers;
    address[] public accounts;
    address[3] public signers;

    /// @notice The first thing that was not as it must be; empty as long as all is well.
    string public violation;
    /// @notice How often each branch of the escrow was gone through.
    mapping(string branch => uint256) public reached;
    uint256 public donated;

    uint256 internal clock = NOW;
    uint256 public actions;
    address internal stranger = account("stranger");

    constructor(Escrow escrow_, DevUsdc usdc_) {
        escrow = escrow_;
        usdc = usdc_;
        payers = [account("payer 1"), account("payer 2"), account("both")];
        providers = [account("provider"), account("both")];
        accounts = [payers[0], payers[1], payers[2], providers[0]];
        // The last stands for the payer itself.
        signers = [address(0), account("session"), address(1)];
    }

    /// @dev Time as this contract knows it holds whatever the runner does between two calls.
    modifier act() {
        vm.warp(clock);
        _;
        _compareBalances();
        if (++actions % 8 == 0) _compareGrants();
    }

    // ------------------------------------------------------------------- money

    function deposit(uint256 who, uint256 amount) external act {
        _deposit(accounts[who % accounts.length], bound(amount, 1, 2_000));
    }

    function withdraw(uint256 who, uint256 amount) external act {
        address owner = accounts[who % accounts.length];
        if (free[owner] == 0) _deposit(owner, 100);
        uint256 part = bound(amount, 1, free[owner]);
        uint256 before = usdc.balanceOf(owner);
        vm.prank(owner);
        escrow.withdraw(part);
        free[owner] -= part;
        _check(usdc.balanceOf(owner) == before + part, "I-11: a withdrawal goes to its owner");
        reached["withdraw"]++;
    }

    function donate(uint256 amount) external act {
        uint256 part = bound(amount, 1, 1_000);
        usdc.mint(address(escrow), part);
        donated += part;
        reached["donate"]++;
    }

    /// @notice Everybody tries to take more than is free; the escrow must refuse.
    function overdraw(uint256 who, uint256 extra) external act {
        address thief = who % 2 == 0 ? stranger : accounts[(who >> 1) % accounts.length];
        uint256 amount = free[thief] + bound(extra, 1, type(uint128).max);
        vm.prank(thief);
        (bool done, ) = address(escrow).call(abi.encodeCall(IEscrow.withdraw, (amount)));
        _check(!done, "I-11: nobody withdraws what is not free");
        reached["overdraw"]++;
    }

    // ------------------------------------------------------------------ payers

    function approve(uint256 where, uint256 price, uint256 budget, uint256 life) external act {
        (address payer, address provider, address signer) = _place(where);
        Lane memory wanted = lanes[payer][provider][signer];
        bool opened = wanted.expiry == 0;
        wanted.price = bound(price, opened ? 1 : wanted.price, wanted.price + 40);
        wanted.budget += bound(budget, 0, 200);
        wanted.notice = bound(life >> 128, opened ? 1 : wanted.notice, 255);
        uint256 earliest = clock + 1 > wanted.expiry ? clock + 1 : wanted.expiry;
        wanted.expiry = bound(life, earliest, earliest + 10 days);

        _approve(payer, provider, signer, wanted);
        reached[opened ? "approve: opens" : "approve: improves"]++;
    }

    function approveShort(uint256 where, uint256 budget) external act {
        (address payer, address provider, ) = _place(where);
        Lane memory wanted = lanes[payer][provider][address(0)];
        if (wanted.price == 0) wanted.price = 10;
        wanted.budget += bound(budget, 0, 200);
        if (wanted.expiry < clock + 365 days) wanted.expiry = clock + 365 days;
        if (wanted.notice < 48) wanted.notice = 48;
        _afford(payer, provider, address(0), wanted.budget);
        vm.prank(payer);
        escrow.approve(provider, wanted.price, wanted.budget);
        _modelApprove(payer, provider, address(0), wanted);
        reached["approve: short form"]++;
    }

    /// @notice A payer tries to cut one term of an open grant; the escrow must refuse.
    function cut(uint256 where, uint256 term) external act {
        (address payer, address provider, address signer) = _place(where);
        _ensureOpen(payer, provider, signer);
        Lane memory wanted = lanes[payer][provider][signer];
        wanted.expiry = wanted.expiry > clock ? wanted.expiry : clock + 1;
        uint256 which = term % 3;
        if (which == 0) wanted.price -= 1;
        if (which == 1) wanted.budget -= 1;
        if (which == 2) wanted.notice -= 1;
        vm.prank(payer);
        (bool done, ) = address(escrow).call(
            abi.encodeWithSignature(
                "approve((address,address,uint40,uint64,uint32,uint8))",
                _terms(provider, signer, wanted)
            )
        );
        _check(!done, "I-9: no term of an open grant is cut");
        reached["cut"]++;
    }

    function revoke(uint256 where) external act {
        (address payer, address provider, address signer) = _place(where);
        _ensureOpen(payer, provider, signer);
        Lane storage lane = lanes[payer][provider][signer];
        if (lane.expiry <= clock) {
            Lane memory longer = lane;
            longer.expiry = clock + 1 days;
            _approve(payer, provider, signer, longer);
        }
        vm.prank(payer);
        escrow.revoke(provider, signer);
        lane.expiry = clock;
        reached["revoke"]++;
    }

    function reclaim(uint256 where) external act {
        (address payer, address provider, address signer) = _place(where);
        _ensureOpen(payer, provider, signer);
        Lane memory lane = lanes[payer][provider][signer];
        uint256 from = lane.expiry + lane.notice * 1 hours;
        if (clock < from) {
            vm.warp(from - 1);
            vm.prank(payer);
            (bool done, ) = address(escrow).call(
                abi.encodeWithSignature("reclaim(address,address)", provider, signer)
            );
            _check(!done, "I-9: nothing is reclaimed within the notice");
            reached["reclaim: too early"]++;
            clock = from;
            vm.warp(from);
        }
        vm.prank(payer);
        escrow.reclaim(provider, signer);
        _modelReclaim(payer, provider, signer);
        reached["reclaim"]++;
    }

    function pass(uint256 time) external act {
        clock += bound(time, 1, 3 days);
        reached["time passes"]++;
    }

    // --------------------------------------------------------------- providers

    function consume(uint256 where, uint256 price) external act {
        (address payer, address provider, ) = _place(where);
        _ensureOpen(payer, provider, address(0));
        Lane memory lane = lanes[payer][provider][address(0)];
        uint256 highest = lane.price < lane.budget ? lane.price : lane.budget;
        uint256 part = bound(price, 1, highest);
        vm.prank(provider);
        escrow.consume(payer, part);
        _modelCharge(payer, provider, address(0), part, 1);
        reached["consume"]++;
    }

    /// @notice A batch of good and bad rows, and then the same rows backwards, which pay nothing.
    function settle(uint256 which, uint256 count, uint256 seed) external act {
        address provider = providers[which % providers.length];
        bytes32[] memory rows = new bytes32[](1 + (count % 5));
        uint256 before = free[provider];
        vm.recordLogs();
        Rows memory wanted = _newRows(rows.length);
        for (uint256 i = 0; i < rows.length; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            (address payer, uint256 amount, uint256 calls) = _row(provider, seed);
            rows[i] = bytes32(abi.encodePacked(payer, uint64(amount), uint32(calls)));
            wanted.payers[i] = payer;
            (wanted.outcomes[i], wanted.paid[i]) = _modelRow(
                payer,
                provider,
                address(0),
                amount,
                calls
            );
        }
        // The rows were made with the model one step ahead, so each follows on the one before.
        vm.prank(provider);
        escrow.settle(abi.encodePacked(rows), "root");
        _checkEvents(IEscrow.Settled.selector, provider, wanted, free[provider] - before);
        _compareBalances();
        _replay(provider, rows);
    }

    function _replay(address provider, bytes32[] memory rows) internal {
        bytes memory backwards = "";
        for (uint256 i = rows.length; i > 0; --i) {
            backwards = bytes.concat(backwards, rows[i - 1]);
        }
        vm.prank(provider);
        escrow.settle(backwards, "root");
        _check(
            escrow.balanceOf(provider) == free[provider],
            "I-6: rows that were settled pay nothing again"
        );
        reached["settle: replay"]++;
    }

    /// @dev A row of any kind, as honest, mistaken and hostile providers send them.
    function _row(
        address provider,
        uint256 seed
    ) internal view returns (address payer, uint256 amount, uint256 calls) {
        payer = payers[seed % payers.length];
        Lane memory lane = lanes[payer][provider][address(0)];
        uint256 kind = (seed >> 8) % 8;
        uint256 newCalls = 1 + ((seed >> 16) % 6);
        uint256 honest = 1 + ((seed >> 32) % (lane.price * newCalls + 1));
        calls = lane.calls + newCalls;
        amount = lane.spent + honest;
        if (kind == 0) amount = lane.spent + lane.price * newCalls + 1;
        if (kind == 1) amount = lane.spent == 0 ? 0 : (seed >> 64) % lane.spent;
        if (kind == 2) calls = lane.calls;
        if (kind == 3) payer = stranger;
        if (kind == 4) {
            calls = lane.calls + 60;
            amount = lane.spent + lane.price * 60;
        }
        if (kind == 6) {
            // One call more than the budget can pay for, at the full price.
            uint256 affordable = lane.price == 0 ? 0 : lane.budget / lane.price;
            calls = lane.calls + affordable + 1;
            amount = lane.spent + lane.price * (affordable + 1);
        }
        if (kind == 5) (amount, calls) = (uint64(seed >> 64), uint32(seed >> 128));
    }

    // -------------------------------------------------------------- comparing

    function _newRows(uint256 count) internal pure returns (Rows memory) {
        return Rows(new address[](count), new Outcome[](count), new uint256[](count));
    }

    function _checkEvents(
        bytes32 paidTopic,
        address provider,
        Rows memory wanted,
        uint256 credited
    ) internal {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 count = wanted.payers.length;
        _check(logs.length == count + 1, "one event for each row and one for the batch");
        uint256 total = 0;
        for (uint256 i = 0; i < count; ++i) {
            _check(logs[i].topics[1] == bytes32(uint256(uint160(wanted.payers[i]))), "payer");
            _check(logs[i].topics[2] == bytes32(uint256(uint160(provider))), "provider");
            total += _checkRow(paidTopic, logs[i], i, wanted);
            string memory what = paidTopic == IEscrow.Settled.selector ? "settle: " : "redeem: ";
            reached[string.concat(what, _nameOf(wanted.outcomes[i]))]++;
        }
        (uint64 sum, , ) = abi.decode(logs[count].data, (uint64, uint64, bytes32));
        _check(total == credited && sum == credited, "I-2: the credit is the sum of the events");
    }

    /// @return paid What the event says that the row was paid.
    function _checkRow(
        bytes32 topic,
        Vm.Log memory log,
        uint256 row,
        Rows memory wanted
    ) private returns (uint256 paid) {
        Outcome outcome = wanted.outcomes[row];
        if (outcome < Outcome.PaidInPart) {
            _check(log.topics[0] == IEscrow.Skipped.selector, "the event of a row not paid");
            (uint256 index, uint256 reason) = abi.decode(log.data, (uint256, uint256));
            _check(index == row && reason == uint256(outcome), "why it was skipped");
            return 0;
        }
        bool bySession = topic == IEscrow.Redeemed.selector && log.data.length == 64;
        if (bySession) topic = IEscrow.RedeemedBySession.selector;
        _check(log.topics[0] == topic, "the event of a row that is paid");
        uint256 usage = bySession ? _second(log.data) : abi.decode(log.data, (uint256));
        paid = uint64(usage >> 128);
        _check(paid == wanted.paid[row], "I-2: paid as in the event");
    }

    function _second(bytes memory data) internal pure returns (uint256 word) {
        (, word) = abi.decode(data, (address, uint256));
    }

    function _nameOf(Outcome outcome) internal pure returns (string memory) {
        if (outcome == Outcome.GrantMissing) return "no grant";
        if (outcome == Outcome.NothingDue) return "nothing due";
        if (outcome == Outcome.PriceAboveCap) return "above the price";
        if (outcome == Outcome.BudgetTooLow) return "no budget";
        if (outcome == Outcome.SignatureInvalid) return "not signed";
        if (outcome == Outcome.EpochOther) return "another epoch";
        if (outcome == Outcome.AboveVoucher) return "above the voucher";
        return outcome == Outcome.PaidInPart ? "in part" : "paid";
    }

    /// @dev Storage equals the model for every account and every grant, touched or not. Grants are
    /// read after each eighth action: that takes most of the time, and what once differs stays so.
    function _compareBalances() internal {
        for (uint256 i = 0; i < accounts.length; ++i) {
            _check(escrow.balanceOf(accounts[i]) == free[accounts[i]], "I-2: a free balance");
        }
        _check(escrow.balanceOf(stranger) == 0, "I-11: strangers have nothing");
    }

    /// @dev The model only ever adds to `spent` and `calls` (I-3) and touches one payer at a time
    /// (I-7).
    function _compareGrants() private {
        for (uint256 where = 0; where < laneCount(); ++where) {
            (address payer, address provider, address signer) = _place(where);
            IEscrow.Grant memory grant = escrow.grantOf(payer, provider, signer);
            Lane memory lane = lanes[payer][provider][signer];
            _check(grant.spent == lane.spent, "I-3: spent");
            _check(grant.calls == lane.calls, "I-3: calls");
            _check(grant.budget == lane.budget, "I-7: budget");
            _check(grant.price == lane.price && grant.notice == lane.notice, "I-7: terms");
            _check(grant.expiry == lane.expiry && grant.epoch == lane.epoch, "I-7: life");
            _check(grant.flags == 0, "flags are not used");
            _checkSigned(payer, provider, signer, lane);
        }
    }

    /// @dev I-4: what was paid in this epoch is at most what was signed for it.
    function _checkSigned(
        address payer,
        address provider,
        address signer,
        Lane memory lane
    ) internal virtual;

    function _check(bool holds, string memory what) internal {
        if (!holds && bytes(violation).length == 0) violation = what;
    }

    // ------------------------------------------------------------------ helpers

    function laneCount() public view returns (uint256) {
        return payers.length * providers.length * signers.length;
    }

    /// @notice What is in all grants together, as the escrow says.
    function budgets() external view returns (uint256 sum) {
        for (uint256 where = 0; where < laneCount(); ++where) {
            (address payer, address provider, address signer) = _place(where);
            sum += escrow.grantOf(payer, provider, signer).budget;
        }
    }

    function placeOf(uint256 where) external view returns (address, address, address) {
        return _place(where);
    }

    function _place(
        uint256 where
    ) internal view returns (address payer, address provider, address signer) {
        where %= laneCount();
        payer = payers[where % payers.length];
        provider = providers[(where / payers.length) % providers.length];
        signer = signers[where / payers.length / providers.length];
        if (signer == address(1)) signer = payer;
    }

    /// @dev An open grant with budget left.
    function _ensureOpen(address payer, address provider, address signer) internal {
        Lane memory lane = lanes[payer][provider][signer];
        if (lane.expiry != 0 && lane.budget != 0) return;
        if (lane.price == 0) (lane.price, lane.notice) = (7, 5);
        if (lane.expiry <= clock) lane.expiry = clock + 1 days;
        lane.budget = 100;
        _approve(payer, provider, signer, lane);
    }

    function _approve(
        address payer,
        address provider,
        address signer,
        Lane memory wanted
    ) internal {
        _afford(payer, provider, signer, wanted.budget);
        vm.prank(payer);
        escrow.approve(_terms(provider, signer, wanted));
        _modelApprove(payer, provider, signer, wanted);
    }

    function _afford(address payer, address provider, address signer, uint256 budget) internal {
        uint256 more = budget - lanes[payer][provider][signer].budget;
        if (free[payer] < more) _deposit(payer, more - free[payer]);
    }

    function _terms(
        address provider,
        address signer,
        Lane memory lane
    ) internal pure returns (IEscrow.Terms memory) {
        return
            IEscrow.Terms({
                provider: provider,
                signer: signer,
                price: uint40(lane.price),
                budget: uint64(lane.budget),
                expiry: uint32(lane.expiry),
                notice: uint8(lane.notice)
            });
    }

    function _deposit(address owner, uint256 amount) internal {
        usdc.mint(owner, amount);
        vm.startPrank(owner);
        usdc.approve(address(escrow), amount);
        escrow.deposit(amount);
        vm.stopPrank();
        free[owner] += amount;
        reached["deposit"]++;
    }
}
