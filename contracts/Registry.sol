// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {
    ReentrancyGuardTransient
} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IEnsRegistry} from "./interfaces/IEnsRegistry.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Registry: first come, first served, nobody is an administrator
/// @dev The token holds a bond for each record with an owner, and what `refundOf` says.
contract Registry is IRegistry, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @dev Two slots. Of a name that was given back only `ownedUntil` and `version` are left; one
    /// that lapsed keeps its last owner, whose bond is still here.
    struct Record {
        address owner;
        /// @dev The expiry and the grace after it, or when the name was given back.
        uint40 ownedUntil;
        uint32 version;
        address resolver;
        uint64 ttl;
    }

    uint256 public constant COMMITMENT_AGE_MIN = 60 seconds;
    uint256 public constant COMMITMENT_AGE_MAX = 24 hours;
    uint256 public constant DURATION_MIN = 28 days;
    uint256 public constant DURATION_MAX = 3650 days;
    uint256 public constant GRACE = 30 days;
    uint256 public constant QUARANTINE = 7 days;
    uint256 private constant LABEL_BYTES_MIN = 3;
    uint256 private constant LABEL_BYTES_MAX = 63;
    /// @dev ENS's name for the root, under which all labels stand.
    bytes32 private constant ROOT = 0;

    /// @inheritdoc IRegistry
    IERC20 public immutable bondToken;
    /// @inheritdoc IRegistry
    uint256 public immutable bond;

    mapping(bytes32 node => Record) private records;

    /// @inheritdoc IRegistry
    mapping(bytes32 commitment => uint256 timestamp) public committedAt;
    /// @inheritdoc IRegistry
    mapping(address account => uint256 amount) public refundOf;
    /// @inheritdoc IEnsRegistry
    mapping(address owner => mapping(address operator => bool)) public isApprovedForAll;

    constructor(IERC20 bondToken_, uint256 bond_) {
        require(address(bondToken_).code.length != 0, TokenMissing(address(bondToken_)));
        bondToken = bondToken_;
        bond = bond_;
    }

    modifier onlyNodeOwner(bytes32 node) {
        address owner_ = owner(node);
        require(msg.sender == owner_, NotNodeOwner(node, owner_, msg.sender));
        _;
    }

    modifier onlyOwnerOrOperator(bytes32 node) {
        address owner_ = owner(node);
        require(
            msg.sender == owner_ || isApprovedForAll[owner_][msg.sender],
            NotNodeOwner(node, owner_, msg.sender)
        );
        _;
    }

    modifier beforeExpiry(bytes32 node) {
        uint256 expiry_ = expiry(node);
        require(block.timestamp < expiry_, NodeExpired(node, expiry_));
        _;
    }

    // ------------------------------------------------------------ registration

    /// @inheritdoc IRegistry
    function commit(bytes32 commitment) external {
        uint256 madeAt = committedAt[commitment];
        if (madeAt != 0 && block.timestamp <= madeAt + COMMITMENT_AGE_MAX) return;

        committedAt[commitment] = block.timestamp;

        emit Committed(commitment);
    }

    /// @inheritdoc IRegistry
    function register(
        string calldata label,
        address owner_,
        address resolver_,
        uint256 durationSeconds,
        bytes32 secret
    ) external nonReentrant returns (bytes32 node) {
        require(_isLabel(bytes(label)), LabelInvalid(label));
        require(owner_ != address(0), OwnerZero());
        require(resolver_ != address(0), ResolverZero());
        _requireDuration(durationSeconds, 0);
        bytes32 labelHash = keccak256(bytes(label));
        node = keccak256(abi.encode(ROOT, labelHash));
        _requireFree(node);
        _useCommitment(makeCommitment(label, owner_, resolver_, durationSeconds, secret));

        Record storage record = records[node];
        _releaseBond(record.owner);
        uint32 version_ = record.version + 1;
        uint256 expiry_ = block.timestamp + durationSeconds;
        records[node] = Record({
            owner: owner_,
            ownedUntil: uint40(expiry_ + GRACE),
            version: version_,
            resolver: resolver_,
            ttl: 0
        });

        emit NewOwner(ROOT, labelHash, owner_);
        emit Transfer(node, owner_);
        emit NewResolver(node, resolver_);
        emit Registered(node, owner_, label, resolver_, expiry_, version_);

        uint256 before = bondToken.balanceOf(address(this));
        bondToken.safeTransferFrom(msg.sender, address(this), bond);
        _requireMoved(bondToken.balanceOf(address(this)) - before, bond);
    }

    /// @inheritdoc IRegistry
    function renew(bytes32 node, uint256 durationSeconds) external onlyOwnerOrOperator(node) {
        uint256 from = expiry(node);
        if (from < block.timestamp) from = block.timestamp;
        _requireDuration(durationSeconds, from - block.timestamp);
        uint256 expiry_ = from + durationSeconds;

        records[node].ownedUntil = uint40(expiry_ + GRACE);

        emit Renewed(node, expiry_);
    }

    /// @inheritdoc IRegistry
    function unregister(bytes32 node) external nonReentrant {
        Record storage record = records[node];
        address owner_ = record.owner;
        require(msg.sender == owner_, NotNodeOwner(node, owner_, msg.sender));

        if (block.timestamp < record.ownedUntil) record.ownedUntil = uint40(block.timestamp);
        record.owner = address(0);
        record.resolver = address(0);
        record.ttl = 0;

        emit NewResolver(node, address(0));
        emit Transfer(node, address(0));
        emit Unregistered(node, owner_);

        _pay(owner_, bond);
    }

    /// @inheritdoc IRegistry
    function withdrawRefund() external nonReentrant {
        uint256 amount = refundOf[msg.sender];
        require(amount != 0, RefundZero());

        refundOf[msg.sender] = 0;

        emit RefundWithdrawn(msg.sender, amount);

        _pay(msg.sender, amount);
    }

    // ----------------------------------------------------------------- changes

    /// @inheritdoc IEnsRegistry
    function setOwner(
        bytes32 node,
        address owner_
    ) external onlyNodeOwner(node) beforeExpiry(node) {
        require(owner_ != address(0), OwnerZero());

        records[node].owner = owner_;

        emit Transfer(node, owner_);
    }

    /// @inheritdoc IEnsRegistry
    function setResolver(
        bytes32 node,
        address resolver_
    ) external onlyOwnerOrOperator(node) beforeExpiry(node) {
        require(resolver_ != address(0), ResolverZero());

        records[node].resolver = resolver_;

        emit NewResolver(node, resolver_);
    }

    /// @inheritdoc IEnsRegistry
    function setTTL(
        bytes32 node,
        uint64 ttl_
    ) external onlyOwnerOrOperator(node) beforeExpiry(node) {
        records[node].ttl = ttl_;

        emit NewTTL(node, ttl_);
    }

    /// @inheritdoc IEnsRegistry
    function setApprovalForAll(address operator, bool approved) external {
        isApprovedForAll[msg.sender][operator] = approved;

        emit ApprovalForAll(msg.sender, operator, approved);
    }

    // ------------------------------------------------------------------- views

    /// @inheritdoc IEnsRegistry
    function owner(bytes32 node) public view returns (address) {
        return recordExists(node) ? records[node].owner : address(0);
    }

    /// @inheritdoc IEnsRegistry
    function resolver(bytes32 node) external view returns (address) {
        return recordExists(node) ? records[node].resolver : address(0);
    }

    /// @inheritdoc IEnsRegistry
    function ttl(bytes32 node) external view returns (uint64) {
        return recordExists(node) ? records[node].ttl : 0;
    }

    /// @inheritdoc IEnsRegistry
    function recordExists(bytes32 node) public view returns (bool) {
        return block.timestamp < records[node].ownedUntil;
    }

    /// @inheritdoc IRegistry
    function expiry(bytes32 node) public view returns (uint256) {
        return recordExists(node) ? records[node].ownedUntil - GRACE : 0;
    }

    /// @inheritdoc IRegistry
    function version(bytes32 node) external view returns (uint32) {
        return records[node].version;
    }

    /// @inheritdoc IRegistry
    function freeFrom(bytes32 node) public view returns (uint256) {
        uint256 ownedUntil = records[node].ownedUntil;
        return ownedUntil == 0 ? 0 : ownedUntil + QUARANTINE;
    }

    /// @inheritdoc IRegistry
    function makeCommitment(
        string calldata label,
        address owner_,
        address resolver_,
        uint256 durationSeconds,
        bytes32 secret
    ) public view returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    keccak256(bytes(label)),
                    owner_,
                    resolver_,
                    durationSeconds,
                    secret,
                    block.chainid,
                    address(this)
                )
            );
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return
            interfaceId == type(IERC165).interfaceId ||
            interfaceId == type(IEnsRegistry).interfaceId ||
            interfaceId == type(IRegistry).interfaceId;
    }

    // ----------------------------------------------------------------- private

    function _isLabel(bytes calldata label) private pure returns (bool) {
        uint256 length = label.length;
        if (length < LABEL_BYTES_MIN || length > LABEL_BYTES_MAX) return false;
        for (uint256 i = 0; i < length; ++i) {
            bytes1 char = label[i];
            bool isPlain = (char >= "a" && char <= "z") || (char >= "0" && char <= "9");
            bool isInside = i != 0 && i != length - 1;
            if (!isPlain && !(char == "-" && isInside)) return false;
        }
        return label[2] != "-" || length == 3 || label[3] != "-";
    }

    /// @param had Seconds from now until the expiry as it was.
    function _requireDuration(uint256 seconds_, uint256 had) private pure {
        uint256 secondsMax = DURATION_MAX - had;
        require(
            seconds_ >= DURATION_MIN && seconds_ <= secondsMax,
            DurationOutOfRange(seconds_, DURATION_MIN, secondsMax)
        );
    }

    function _requireFree(bytes32 node) private view {
        address taken = owner(node);
        require(taken == address(0), NodeTaken(node, taken));
        uint256 from = freeFrom(node);
        require(block.timestamp >= from, NodeInQuarantine(node, from));
    }

    function _useCommitment(bytes32 commitment) private {
        uint256 madeAt = committedAt[commitment];
        require(madeAt != 0, CommitmentMissing(commitment));
        uint256 from = madeAt + COMMITMENT_AGE_MIN;
        uint256 until = madeAt + COMMITMENT_AGE_MAX;
        require(block.timestamp >= from, CommitmentTooNew(commitment, from));
        require(block.timestamp <= until, CommitmentTooOld(commitment, until));
        delete committedAt[commitment];
    }

    /// @dev Nobody's token transfer may stop the next owner, so the last one collects it itself.
    function _releaseBond(address lastOwner) private {
        if (lastOwner == address(0)) return;
        refundOf[lastOwner] += bond;
        emit RefundDue(lastOwner, bond);
    }

    function _pay(address account, uint256 amount) private {
        uint256 before = bondToken.balanceOf(address(this));
        bondToken.safeTransfer(account, amount);
        _requireMoved(before - bondToken.balanceOf(address(this)), amount);
    }

    function _requireMoved(uint256 moved, uint256 amount) private pure {
        require(moved == amount, TokenMovedOther(moved, amount));
    }
}
