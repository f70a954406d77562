// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {DevUsdc} from "../../../contracts/DevUsdc.sol";
import {Registry} from "../../../contracts/Registry.sol";
import {Test} from "./Test.sol";

/// @title What people who want names may do to a registry, in any order
/// @dev No action reverts: each makes its own preconditions, and an attempt that the registry must
/// refuse is made by a low-level call. Each action is done to a model too, which is written down
/// from the words of `IRegistry`. The first thing that is wrong is kept in `violation`; that every
/// branch is gone through is shown by `reached`.
contract RegistryHandler is Test {
    /// @dev As people think of it: a life, and not a number from which one follows.
    enum Life {
        Free,
        Owned,
        Grace,
        Lapsed,
        GivenBack
    }

    struct Name {
        address owner;
        address resolver;
        uint64 ttl;
        uint32 version;
        uint256 expiry;
        uint256 givenBackAt;
    }

    uint256 public constant BOND = 5;
    uint256 private constant GRACE = 30 days;
    uint256 private constant QUARANTINE = 7 days;

    Registry public immutable registry;
    DevUsdc public immutable usdc;

    string[3] public labels = ["alice", "bob", "x-1"];
    address[3] public people;
    mapping(uint256 label => Name) private names;
    mapping(bytes32 commitment => uint256) private committed;
    mapping(address => mapping(address => bool)) private operators;
    mapping(address => uint256) private due;
    uint256 public dueTotal;

    string public violation;
    mapping(string branch => uint256) public reached;

    uint256 private clock = NOW;
    address private stranger = account("stranger");
    address private resolver = account("resolver");

    constructor(Registry registry_, DevUsdc usdc_) {
        registry = registry_;
        usdc = usdc_;
        people = [account("ann"), account("ben"), account("cyd")];
    }

    modifier act() {
        vm.warp(clock);
        _;
        _compare();
    }

    // ------------------------------------------------------------- taking names

    /// @notice Takes a name if it can be taken now, and is refused if not.
    function take(uint256 which, uint256 who, uint256 seconds_, uint256 secret) external act {
        uint256 label = which % 3;
        address owner = people[who % 3];
        uint256 duration = bound(seconds_, 28 days, 400 days);
        bytes32 commitment = _commit(label, owner, duration, bytes32(secret));
        _pass(bound(secret, 60, 24 hours));
        Life life = _life(label);
        _fund(owner);
        (bool done, ) = _register(label, owner, duration, bytes32(secret));
        _check(done == (life == Life.Free), "I-15: a name has one live owner");
        reached[_nameOf("take: ", life)]++;
        if (done) _taken(label, owner, duration, commitment);
    }

    /// @notice Waits until a name is free, and takes it.
    function takeLate(uint256 which, uint256 who, uint256 secret) external act {
        uint256 label = which % 3;
        Name memory name = names[label];
        Life life = _life(label);
        if (life == Life.Owned || life == Life.Grace) {
            _warp(name.expiry + GRACE);
            life = Life.Lapsed;
        }
        uint256 free = life == Life.Lapsed
            ? name.expiry + GRACE + QUARANTINE
            : name.givenBackAt + QUARANTINE;
        if (life != Life.Free && clock + 60 < free) _warp(free - 60);
        address owner = people[who % 3];
        bytes32 commitment = _commit(label, owner, 28 days, bytes32(secret));
        _pass(60);
        if (life != Life.Free && clock < free) _warp(free);
        _fund(owner);
        (bool done, ) = _register(label, owner, 28 days, bytes32(secret));
        _check(done, "a free name can be taken");
        _taken(label, owner, 28 days, commitment);
        reached[_nameOf("take late: ", life)]++;
    }

    /// @notice Registers too early, too late, without a commitment or by one for something else.
    function takeWrongly(uint256 which, uint256 who, uint256 how, uint256 secret) external act {
        uint256 label = which % 3;
        address owner = people[who % 3];
        bytes32 salt = keccak256(abi.encode(secret, "wrong"));
        how %= 5;
        if (how != 0) _commit(label, owner, 28 days, salt);
        if (how == 1) _pass(bound(secret, 0, 59));
        if (how == 2) _pass(24 hours + bound(secret, 1, 30 days));
        if (how >= 3) _pass(60);
        if (how == 3) owner = people[(who % 3 + 1) % 3];
        _fund(owner);
        (bool done, ) = _register(label, owner, how == 4 ? 29 days : 28 days, salt);
        _check(!done, "I-15: only the same tuple, 60 s to 24 h old, registers");
        string[5] memory ways = ["uncommitted", "early", "late", "other owner", "other time"];
        reached[string.concat("take wrongly: ", ways[how])]++;
    }

    /// @notice Uses a commitment a second time.
    function takeTwice(uint256 which, uint256 who, uint256 secret) external act {
        uint256 label = which % 3;
        address owner = people[who % 3];
        bytes32 commitment = _commit(label, owner, 28 days, bytes32(secret));
        _pass(60);
        if (_life(label) != Life.Free) return;
        _fund(owner);
        (bool done, ) = _register(label, owner, 28 days, bytes32(secret));
        _check(done, "once");
        _taken(label, owner, 28 days, commitment);
        vm.prank(owner);
        registry.unregister(_node(label));
        _givenBack(label);
        _pass(QUARANTINE);
        _fund(owner);
        (done, ) = _register(label, owner, 28 days, bytes32(secret));
        _check(!done, "I-15: a commitment is good for one registration");
        reached["take twice"]++;
    }

    // ------------------------------------------------------------ owners' doings

    /// @notice Anybody changes a name; it works for owner and operator, in their time.
    function change(uint256 which, uint256 who, uint256 what, uint256 value) external act {
        uint256 label = which % 3;
        address by = _ownerOrAnybody(label, who);
        bool isGranted = _isOwner(label, by) || _isOperator(label, by);
        bool isOpen = _life(label) == Life.Owned;
        what %= 3;
        address other = address(uint160(value % 1000 + 1));
        if (what == 0) {
            if (_try(by, abi.encodeCall(registry.setResolver, (_node(label), other)))) {
                _check(isGranted && isOpen, "I-15: only owner or operator changes the resolver");
                names[label].resolver = other;
                reached[_isOwner(label, by) ? "resolver: owner" : "resolver: operator"]++;
            } else {
                _check(!isGranted || !isOpen, "owner and operator may");
                reached[isGranted ? "resolver: not now" : "resolver: refused"]++;
            }
        } else if (what == 1) {
            if (_try(by, abi.encodeCall(registry.setTTL, (_node(label), uint64(value))))) {
                _check(isGranted && isOpen, "only owner or operator changes the ttl");
                names[label].ttl = uint64(value);
                reached["ttl"]++;
            } else {
                _check(!isGranted || !isOpen, "owner and operator may set the ttl");
            }
        } else {
            address next = people[value % 3];
            if (_try(by, abi.encodeCall(registry.setOwner, (_node(label), next)))) {
                _check(_isOwner(label, by) && isOpen, "I-15: only the owner gives a name away");
                names[label].owner = next;
                reached["owner: given away"]++;
            } else {
                _check(!_isOwner(label, by) || !isOpen, "an owner may give its name away");
                reached["owner: refused"]++;
            }
        }
    }

    function renew(uint256 which, uint256 who, uint256 seconds_) external act {
        uint256 label = which % 3;
        address by = _ownerOrAnybody(label, who);
        uint256 duration = bound(seconds_, 28 days, 400 days);
        Life life = _life(label);
        uint256 from = life == Life.Grace ? clock : names[label].expiry;
        bool may = (_isOwner(label, by) || _isOperator(label, by)) &&
            from + duration <= clock + 3650 days;
        bool done = _try(by, abi.encodeCall(registry.renew, (_node(label), duration)));
        _check(done == may, "owner and operator renew, and nobody else");
        if (done) names[label].expiry = from + duration;
        reached[done ? _nameOf("renew: ", life) : "renew: refused"]++;
    }

    function unregister(uint256 which, uint256 who) external act {
        uint256 label = which % 3;
        address by = _ownerOrAnybody(label, who);
        Life life = _life(label);
        bool may = names[label].owner == by && life != Life.GivenBack;
        uint256 before = usdc.balanceOf(by);
        bool done = _try(by, abi.encodeCall(registry.unregister, (_node(label))));
        _check(done == may, "only the owner, or the last one, gives a name back");
        if (done) _check(usdc.balanceOf(by) == before + BOND, "the bond comes back in full");
        if (done) _givenBack(label);
        reached[done ? _nameOf("unregister: ", life) : "unregister: refused"]++;
    }

    function withdrawRefund(uint256 who) external act {
        address by = _anybody(who);
        uint256 amount = due[by];
        uint256 before = usdc.balanceOf(by);
        bool done = _try(by, abi.encodeCall(registry.withdrawRefund, ()));
        _check(done == (amount != 0), "who has a refund takes it");
        _check(usdc.balanceOf(by) == before + amount, "all of it and no more");
        dueTotal -= amount;
        due[by] = 0;
        reached[done ? "refund" : "refund: none"]++;
    }

    function setOperator(uint256 who, uint256 whom, bool approved) external act {
        address by = people[who % 3];
        address operator = people[whom % 3];
        vm.prank(by);
        registry.setApprovalForAll(operator, approved);
        operators[by][operator] = approved;
        reached[approved ? "operator: yes" : "operator: no"]++;
    }

    function pass(uint256 seconds_) external act {
        _pass(bound(seconds_, 1, 40 days));
        reached["time passes"]++;
    }

    /// @notice Time goes to one of the moments at which a name's life changes, or next to it.
    function passTo(uint256 which, uint256 moment, uint256 aside) external act {
        Name memory name = names[which % 3];
        uint256[4] memory moments = [
            name.expiry,
            name.expiry + GRACE,
            name.expiry + GRACE + QUARANTINE,
            name.givenBackAt + QUARANTINE
        ];
        uint256 to = moments[moment % 4] + (aside % 3);
        if (to < clock + 2) return;
        _warp(to - 1);
        reached["time passes to a border"]++;
    }

    // ------------------------------------------------------------------ the model

    function _life(uint256 label) private view returns (Life) {
        Name memory name = names[label];
        if (name.version == 0) return Life.Free;
        if (name.givenBackAt != 0)
            return clock < name.givenBackAt + QUARANTINE ? Life.GivenBack : Life.Free;
        if (clock < name.expiry) return Life.Owned;
        if (clock < name.expiry + GRACE) return Life.Grace;
        return clock < name.expiry + GRACE + QUARANTINE ? Life.Lapsed : Life.Free;
    }

    function _isOwner(uint256 label, address by) private view returns (bool) {
        Life life = _life(label);
        return (life == Life.Owned || life == Life.Grace) && names[label].owner == by;
    }

    function _isOperator(uint256 label, address by) private view returns (bool) {
        Life life = _life(label);
        return
            (life == Life.Owned || life == Life.Grace) && operators[names[label].owner][by];
    }

    function _taken(uint256 label, address owner, uint256 duration, bytes32 commitment) private {
        Name storage name = names[label];
        if (name.owner != address(0)) {
            due[name.owner] += BOND;
            dueTotal += BOND;
            reached["bond: waits for its owner"]++;
        }
        uint32 version = registry.version(_node(label));
        _check(version > name.version, "I-15: the version rises");
        (name.owner, name.resolver, name.ttl) = (owner, resolver, 0);
        (name.version, name.expiry, name.givenBackAt) = (version, clock + duration, 0);
        committed[commitment] = 0;
    }

    function _givenBack(uint256 label) private {
        Name storage name = names[label];
        Life life = _life(label);
        bool hadOwner = life == Life.Owned || life == Life.Grace;
        name.givenBackAt = hadOwner ? clock : name.expiry + GRACE;
        name.owner = address(0);
    }

    /// @notice I-15, of every name after every action: the seed's getters and those of ENS say
    /// what the model says.
    function _compare() private {
        uint256 bonds = dueTotal;
        for (uint256 label = 0; label < 3; ++label) {
            bytes32 node = _node(label);
            Name memory name = names[label];
            if (name.owner != address(0)) bonds += BOND;
            Life life = _life(label);
            bool isOwned = life == Life.Owned || life == Life.Grace;
            address owner = isOwned ? name.owner : address(0);
            _check(registry.owner(node) == owner, "I-15: owner");
            _check(registry.recordExists(node) == isOwned, "I-15: recordExists");
            address to = isOwned ? name.resolver : address(0);
            _check(registry.resolver(node) == to, "I-15: resolver");
            _check(registry.ttl(node) == (isOwned ? name.ttl : 0), "ttl");
            _check(registry.expiry(node) == (isOwned ? name.expiry : 0), "expiry");
            _check(registry.version(node) == name.version, "I-15: version");
            _check(registry.refundOf(people[label]) == due[people[label]], "refund");
        }
        _check(registry.refundOf(stranger) == 0, "strangers have nothing");
        _check(usdc.balanceOf(address(registry)) == bonds, "I-1: the bonds are here");
    }

    function _check(bool holds, string memory what) private {
        if (!holds && bytes(violation).length == 0) violation = what;
    }

    // -------------------------------------------------------------------- helpers

    /// @dev A person, or a stranger who never has anything.
    function _anybody(uint256 who) private view returns (address) {
        return who % 4 == 3 ? stranger : people[who % 4];
    }

    /// @dev Half of the time the one who may.
    function _ownerOrAnybody(uint256 label, uint256 who) private view returns (address) {
        address owner = names[label].owner;
        return owner != address(0) && (who >> 32) % 2 == 0 ? owner : _anybody(who);
    }

    function _node(uint256 label) private view returns (bytes32) {
        return keccak256(abi.encodePacked(bytes32(0), keccak256(bytes(labels[label]))));
    }

    function _commit(
        uint256 label,
        address owner,
        uint256 duration,
        bytes32 secret
    ) private returns (bytes32 commitment) {
        commitment = registry.makeCommitment(labels[label], owner, resolver, duration, secret);
        uint256 madeAt = committed[commitment];
        // An old one that can still be used is not put off; here each is made to be new.
        if (madeAt != 0 && clock <= madeAt + 24 hours) _warp(madeAt + 24 hours + 1);
        vm.prank(stranger);
        registry.commit(commitment);
        committed[commitment] = clock;
        _check(registry.committedAt(commitment) == clock, "a commitment has its time");
    }

    function _register(
        uint256 label,
        address owner,
        uint256 duration,
        bytes32 secret
    ) private returns (bool done, bytes memory answer) {
        bytes memory call = abi.encodeCall(
            registry.register,
            (labels[label], owner, resolver, duration, secret)
        );
        vm.prank(owner);
        (done, answer) = address(registry).call(call);
    }

    function _try(address by, bytes memory call) private returns (bool done) {
        vm.prank(by);
        (done, ) = address(registry).call(call);
    }

    function _fund(address who) private {
        usdc.mint(who, BOND);
        vm.prank(who);
        usdc.approve(address(registry), BOND);
    }

    function _pass(uint256 seconds_) private {
        _warp(clock + seconds_);
    }

    function _warp(uint256 time) private {
        clock = time;
        vm.warp(time);
    }

    function _nameOf(string memory what, Life life) private pure returns (string memory) {
        string[5] memory lives = ["free", "owned", "in grace", "lapsed", "given back"];
        return string.concat(what, lives[uint256(life)]);
    }
}
