// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../../contracts/DevUsdc.sol";
import {Escrow} from "../../../contracts/Escrow.sol";
import {TypedData} from "../../../contracts/TypedData.sol";
import {IEscrow} from "../../../contracts/interfaces/IEscrow.sol";
import {EscrowHandler} from "./EscrowHandler.sol";
import {PlainVoucherRow} from "./PlainVoucherRow.sol";

/// @title What is signed and done by others: vouchers, deposits, approvals, withdrawals, trials
contract EscrowVoucherHandler is EscrowHandler {
    struct Claim {
        TypedData.Voucher voucher;
        uint256 key;
        uint256 amount;
        uint256 calls;
        bytes signature;
    }

    /// @dev The highest amount that was ever signed for, and what was spent when the epoch began.
    mapping(bytes32 laneAndEpoch => uint256) private signedMax;
    mapping(bytes32 laneAndEpoch => uint256) private paidInEpoch;
    mapping(address provider => mapping(address user => IEscrow.Credits)) private trials;
    mapping(address account => uint256) private used;
    bytes[] private oldRows;

    constructor(Escrow escrow_, DevUsdc usdc_) EscrowHandler(escrow_, usdc_) {}

    // ---------------------------------------------------------------- vouchers

    /// @notice A batch of vouchers as honest, mistaken and hostile providers send them, then all of
    /// them backwards, which pays nothing.
    function redeem(uint256 which, uint256 count, uint256 seed) external act {
        address provider = providers[which % providers.length];
        uint256 rows = 1 + (count % 4);
        Rows memory wanted = _newRows(rows);
        bytes memory batch = "";
        // First, for the model is one step ahead from then on.
        for (uint256 i = 0; i < rows; ++i) _openFor(provider, _seedOf(seed, i));
        uint256 before = free[provider];
        for (uint256 i = 0; i < rows; ++i) {
            Claim memory claim = _claim(provider, _seedOf(seed, i));
            bytes memory encoded = redeemRow(
                claim.voucher,
                claim.amount,
                claim.calls,
                claim.signature
            );
            claim.voucher.provider = provider;
            wanted.payers[i] = claim.voucher.payer;
            (wanted.outcomes[i], wanted.paid[i]) = _modelClaim(claim, encoded);
            batch = bytes.concat(batch, encoded);
            oldRows.push(encoded);
        }
        vm.recordLogs();
        vm.prank(provider);
        escrow.redeem(batch, "root");
        _checkEvents(IEscrow.Redeemed.selector, provider, wanted, free[provider] - before);
        _replayRows(provider, seed);
    }

    /// @dev Any rows of the past, of this provider or of another: they pay nothing.
    function _replayRows(address provider, uint256 seed) private {
        bytes memory batch = oldRows[oldRows.length - 1];
        for (uint256 i = 0; i < 3; ++i) {
            bytes memory row = oldRows[(seed >> (i * 32)) % oldRows.length];
            (Outcome outcome, ) = _peek(provider, row);
            if (outcome < Outcome.PaidInPart) batch = bytes.concat(batch, row);
        }
        vm.prank(provider);
        escrow.redeem(batch, "root");
        _check(escrow.balanceOf(provider) == free[provider], "I-6: old vouchers pay nothing");
        reached["redeem: replay"]++;
    }

    /// @dev An old row that was too much for its budget may be good now: those are left out.
    function _peek(
        address provider,
        bytes memory row
    ) private view returns (Outcome outcome, uint256) {
        (address payer, uint256 numbers, address signer) = this.readRow(
            row,
            escrow.DOMAIN_SEPARATOR(),
            provider
        );
        Lane memory lane = lanes[payer][provider][signer];
        bool dead = signer == address(0) ||
            lane.expiry == 0 ||
            uint8(numbers >> 56) != lane.epoch ||
            numbers >> 192 <= lane.spent;
        return (dead ? Outcome.NothingDue : Outcome.Paid, 0);
    }

    function readRow(
        bytes calldata row,
        bytes32 domain,
        address provider
    ) external pure returns (address payer, uint256 numbers, address signer) {
        return PlainVoucherRow.read(row, domain, provider);
    }

    /// @notice The same by the slow path: one voucher of a key, or of nobody.
    function redeemSlowly(uint256 which, uint256 seed) external act {
        address provider = providers[which % providers.length];
        _openFor(provider, seed);
        Claim memory claim = _claim(provider, seed);
        IEscrow.ContractVoucher[] memory vouchers = new IEscrow.ContractVoucher[](1);
        TypedData.Voucher memory voucher = claim.voucher;
        address signer = vm.addr(claim.key);
        vouchers[0] = IEscrow.ContractVoucher({
            payer: voucher.payer,
            signer: signer,
            claimed: uint64(claim.amount),
            maxAmount: voucher.maxAmount,
            calls: uint32(claim.calls),
            maxCalls: voucher.maxCalls,
            epoch: voucher.epoch,
            signature: sign(claim.key, voucherDigest(escrow, voucher))
        });
        // A voucher for somebody else is not signed for this provider.
        if (voucher.provider != provider) signer = address(0);
        voucher.provider = provider;
        (Outcome outcome, uint256 paid) = _modelVoucher(
            voucher,
            signer,
            uint64(claim.amount),
            uint32(claim.calls)
        );
        _countPaid(voucher, signer, paid);
        uint256 before = escrow.balanceOf(provider);
        vm.prank(provider);
        escrow.redeemContract(vouchers, "root");
        _check(escrow.balanceOf(provider) - before == paid, "I-2: the slow path pays the same");
        reached[string.concat("slowly: ", _nameOf(outcome))]++;
    }

    function _modelClaim(
        Claim memory claim,
        bytes memory row
    ) private returns (Outcome outcome, uint256 paid) {
        (, , address signer) = this.readRow(
            row,
            escrow.DOMAIN_SEPARATOR(),
            claim.voucher.provider
        );
        (outcome, paid) = _modelVoucher(claim.voucher, signer, claim.amount, claim.calls);
        _countPaid(claim.voucher, signer, paid);
    }

    function _countPaid(
        TypedData.Voucher memory voucher,
        address signer,
        uint256 paid
    ) private {
        if (paid == 0) return;
        paidInEpoch[_epochOf(voucher.payer, voucher.provider, signer, voucher.epoch)] += paid;
    }

    function _epochOf(
        address payer,
        address provider,
        address signer,
        uint256 epoch
    ) private pure returns (bytes32) {
        return keccak256(abi.encode(payer, provider, signer, epoch));
    }

    function _checkSigned(
        address payer,
        address provider,
        address signer,
        Lane memory lane
    ) internal override {
        if (signer == address(0)) return;
        bytes32 place = _epochOf(payer, provider, signer, lane.epoch);
        _check(paidInEpoch[place] <= signedMax[place], "I-4: no more than was signed");
        if (paidInEpoch[place] != 0) _check(lane.spent <= signedMax[place], "I-4: in all");
    }

    function _seedOf(uint256 seed, uint256 index) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, index)));
    }

    function _signerOf(
        uint256 seed
    ) private view returns (address payer, address signer, uint256 key) {
        (payer, key) = _payerOf(seed);
        signer = payer;
        if ((seed >> 8) & 1 == 0) (signer, key) = (signers[1], keyOf("session"));
    }

    /// @dev Three in four claims are of a grant that is open.
    function _openFor(address provider, uint256 seed) private {
        (address payer, address signer, ) = _signerOf(seed);
        if ((seed >> 9) & 3 != 0) _ensureOpen(payer, provider, signer);
    }

    /// @dev A voucher of some kind, and what is claimed of it.
    function _claim(address provider, uint256 seed) private returns (Claim memory claim) {
        (address payer, address signer, uint256 key) = _signerOf(seed);
        claim.key = key;
        Lane memory lane = lanes[payer][provider][signer];
        uint256 newCalls = 1 + ((seed >> 16) % 6);
        claim.calls = lane.calls + newCalls;
        claim.amount = lane.spent + 1 + ((seed >> 32) % (lane.price * newCalls + 1));
        uint256 kind = (seed >> 64) % 12;
        if (kind == 0) claim.amount = lane.spent + lane.price * newCalls + 1;
        if (kind == 1) claim.amount = lane.spent;
        if (kind == 2) {
            claim.calls = lane.calls + 60;
            claim.amount = lane.spent + lane.price * 60;
        }
        if (kind == 3) {
            uint256 affordable = lane.price == 0 ? 0 : lane.budget / lane.price;
            claim.calls = lane.calls + affordable + 1;
            claim.amount = lane.spent + lane.price * (affordable + 1);
        }
        // Signed ahead of use, for more than is claimed.
        uint256 ahead = (seed >> 96) % 50;
        claim.voucher = TypedData.Voucher({
            payer: payer,
            provider: provider,
            maxAmount: uint64(claim.amount + ahead),
            maxCalls: uint32(claim.calls + ahead),
            epoch: uint8(lane.epoch)
        });
        if (kind == 4) claim.voucher.provider = providers[0] == provider ? payer : providers[0];
        if (kind == 5) claim.voucher.epoch += 1;
        bytes32 place = _epochOf(payer, claim.voucher.provider, signer, claim.voucher.epoch);
        uint256 signed = claim.voucher.maxAmount;
        if (signed > signedMax[place]) signedMax[place] = signed;
        claim.signature = signVoucher(escrow, claim.voucher, claim.key);
        if (kind == 6) claim.amount = signed + 1;
        if (kind == 7) claim.calls = claim.voucher.maxCalls + 1;
        if (kind == 8) claim.signature[(seed >> 128) % 64] ^= bytes1(uint8(1 + (seed >> 136) % 255));
        if (kind == 9) claim.signature = new bytes(64);
    }

    // -------------------------------------------------------------- by a relay

    function depositFor(uint256 who, uint256 amount) external act {
        address owner = accounts[who % accounts.length];
        uint256 part = bound(amount, 1, 2_000);
        usdc.mint(stranger, part);
        vm.startPrank(stranger);
        usdc.approve(address(escrow), part);
        escrow.depositFor(owner, part);
        vm.stopPrank();
        free[owner] += part;
        reached["deposit: for somebody"]++;
    }

    function permitted(uint256 who, uint256 amount, bool frontRun) external act {
        (address owner, uint256 key) = _payerOf(who);
        uint256 part = bound(amount, 1, 2_000);
        usdc.mint(owner, part);
        bytes memory signature = sign(
            key,
            permitDigest(usdc, owner, address(escrow), part, clock)
        );
        if (frontRun) usdc.permit(owner, address(escrow), part, clock, signature);
        vm.prank(owner);
        escrow.depositWithPermit(part, clock, signature);
        free[owner] += part;
        reached[frontRun ? "deposit: permit, front-run" : "deposit: permit"]++;
    }

    /// @notice A stranger sends what a payer signed, having tried to send it as something else.
    function authorised(uint256 where, uint256 amount, uint256 budget, bool approves) external act {
        (address payer, address provider, address signer) = _place(where);
        (, uint256 key) = _payerOf(where);
        bytes32 salt = keccak256(abi.encode(where, amount, usdc.totalSupply()));
        Lane memory wanted = _better(lanes[payer][provider][signer], budget);
        IEscrow.Terms memory terms = _terms(provider, signer, wanted);
        IEscrow.Authorization memory given = IEscrow.Authorization({
            from: payer,
            amount: bound(amount, 200, 2_000),
            validAfter: 0,
            validBefore: clock + 1
        });
        bytes32 nonce = approves ? escrow.grantNonce(terms, salt) : escrow.depositNonce(salt);
        bytes memory signature = sign(key, receiveDigest(usdc, address(escrow), given, nonce));
        usdc.mint(payer, given.amount);
        _tryRedirect(given, terms, salt, signature, approves);
        vm.prank(stranger);
        free[payer] += given.amount;
        if (approves) {
            escrow.depositAndApproveWithAuthorization(given, terms, salt, signature);
            _modelApprove(payer, provider, signer, wanted);
        } else {
            escrow.depositWithAuthorization(given, salt, signature);
        }
        reached[approves ? "deposit: approves" : "deposit: authorised"]++;
    }

    function _tryRedirect(
        IEscrow.Authorization memory given,
        IEscrow.Terms memory terms,
        bytes32 salt,
        bytes memory signature,
        bool approves
    ) private {
        // By hand and back: what is passed here is the caller's own struct.
        address provider = terms.provider;
        terms.provider = stranger;
        bytes memory redirected = abi.encodeCall(
            IEscrow.depositAndApproveWithAuthorization,
            (given, terms, salt, signature)
        );
        if (approves && uint256(salt) % 2 == 0) {
            redirected = abi.encodeCall(
                IEscrow.depositWithAuthorization,
                (given, salt, signature)
            );
        }
        terms.provider = provider;
        vm.prank(stranger);
        (bool done, ) = address(escrow).call(redirected);
        _check(!done, "I-13: what was signed for one thing is no other");
    }

    function approveSigned(uint256 where, uint256 budget) external act {
        (address payer, address provider, address signer) = _place(where);
        (, uint256 key) = _payerOf(where);
        Lane memory wanted = _better(lanes[payer][provider][signer], budget);
        _afford(payer, provider, signer, wanted.budget);
        IEscrow.Terms memory terms = _terms(provider, signer, wanted);
        bytes memory signature = sign(
            key,
            approveDigest(escrow, payer, terms, used[payer], clock)
        );
        vm.prank(stranger);
        escrow.approveBySig(payer, terms, clock, signature);
        _modelApprove(payer, provider, signer, wanted);
        used[payer] += 1;
        vm.prank(stranger);
        (bool done, ) = address(escrow).call(
            abi.encodeCall(IEscrow.approveBySig, (payer, terms, clock, signature))
        );
        _check(!done, "I-11: a signature is used once");
        reached["approve: signed"]++;
    }

    function withdrawSigned(uint256 who, uint256 amount, bool itself) external act {
        (address owner, uint256 key) = _payerOf(who);
        if (free[owner] == 0) _deposit(owner, 100);
        uint256 part = bound(amount, 1, free[owner]);
        address to = account("elsewhere");
        uint256 before = usdc.balanceOf(to);
        free[owner] -= part;
        if (itself) {
            vm.prank(owner);
            escrow.withdrawTo(to, part);
        } else {
            bytes memory signature = sign(
                key,
                withdrawDigest(escrow, owner, to, part, used[owner], clock)
            );
            vm.prank(stranger);
            (bool stolen, ) = address(escrow).call(
                abi.encodeCall(
                    IEscrow.withdrawBySig,
                    (owner, stranger, uint64(part), clock, signature)
                )
            );
            _check(!stolen, "I-11: it goes where its owner signed");
            escrow.withdrawBySig(owner, to, uint64(part), clock, signature);
            used[owner] += 1;
        }
        _check(usdc.balanceOf(to) == before + part, "I-11: all of it");
        reached[itself ? "withdraw: elsewhere" : "withdraw: signed"]++;
    }

    /// @notice The key that signs for a lane; zero for metered use.
    function keyAt(uint256 where) external view returns (uint256) {
        (address payer, , address signer) = _place(where);
        (, uint256 key) = _payerOf(where);
        if (signer == payer) return key;
        return signer == address(0) ? 0 : keyOf("session");
    }

    function _payerOf(uint256 which) private view returns (address owner, uint256 key) {
        owner = payers[which % payers.length];
        string[3] memory labels = ["payer 1", "payer 2", "both"];
        key = keyOf(labels[which % payers.length]);
    }

    function _better(
        Lane memory lane,
        uint256 budget
    ) private view returns (Lane memory wanted) {
        wanted = lane;
        if (wanted.price == 0) (wanted.price, wanted.notice) = (9, 3);
        wanted.budget += bound(budget, 0, 200);
        if (wanted.expiry <= clock) wanted.expiry = clock + 1 days;
    }

    // ------------------------------------------------------------------ trials

    function trial(uint256 which, uint256 calls, uint256 count) external act {
        address provider = providers[which % providers.length];
        address user = payers[(which >> 8) % payers.length];
        IEscrow.Credits storage credits = trials[provider][user];
        uint64 more = uint64(bound(calls, 1, 20));
        vm.startPrank(provider);
        escrow.grantCredits(user, more);
        credits.granted += more;
        uint256 wanted = bound(count, 0, credits.granted + 5);
        escrow.useCredits(abi.encodePacked(user, uint96(wanted)));
        vm.stopPrank();
        bool counts = wanted > credits.used && wanted <= credits.granted;
        if (counts) credits.used = uint64(wanted);
        IEscrow.Credits memory kept = escrow.creditsOf(provider, user);
        _check(
            kept.granted == credits.granted && kept.used == credits.used,
            "I-12: as granted and used"
        );
        _check(kept.used <= kept.granted, "I-12: no more than granted");
        reached[counts ? "trial: used" : "trial: refused"]++;
    }

    function rate(uint256 where) external act {
        (address payer, address provider, address signer) = _place(where);
        bool mayRate = lanes[payer][provider][signer].spent != 0;
        vm.prank(payer);
        (bool done, ) = address(escrow).call(
            abi.encodeWithSignature(
                "rate(address,address,uint8,bytes32)",
                provider,
                signer,
                80,
                bytes32("receipt")
            )
        );
        _check(done == mayRate, "who paid may rate, and nobody else");
        reached[done ? "rate" : "rate: refused"]++;
    }
}
