// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {
    IEnsAddr,
    IEnsAddress,
    IEnsContenthash,
    IEnsMulticall,
    IEnsText,
    IEnsVersionable
} from "./interfaces/IEnsResolver.sol";
import {IResolver} from "./interfaces/IResolver.sol";

/// @title Resolver: the records of one provider and of its names
contract Resolver is IResolver {
    /// @dev What has a node, between two clearings.
    struct Records {
        bytes contenthash;
        mapping(string key => string) texts;
    }

    uint256 private constant SERVER_BYTES_MAX = 512;
    uint256 private constant PUBKEY_BYTES_MAX = 1024;
    uint256 private constant KEY_BYTES_MAX = 64;
    uint256 private constant TEXT_BYTES_MAX = 2048;
    uint256 private constant CONTENTHASH_BYTES_MAX = 256;
    /// @dev Ethereum's number in SLIP-44, and what ENSIP-11 adds to the id of other chains.
    uint256 private constant COIN_ETHEREUM = 60;
    uint256 private constant COIN_OTHER_CHAIN = 0x80000000;

    /// @inheritdoc IResolver
    address public immutable owner;
    /// @inheritdoc IResolver
    string public server;
    /// @inheritdoc IResolver
    bytes public pubkey;
    /// @inheritdoc IEnsVersionable
    mapping(bytes32 node => uint64) public recordVersions;

    address private account;
    mapping(bytes32 node => mapping(uint64 version => Records)) private records;

    constructor(address owner_, address addr_, string memory server_, bytes memory pubkey_) {
        require(owner_ != address(0), AddressZero());
        owner = owner_;
        _setAddr(addr_);
        _setServer(server_);
        _setPubkey(pubkey_);
    }

    modifier onlyOwner() {
        require(msg.sender == owner, NotOwner(msg.sender));
        _;
    }

    // ------------------------------------------------------------ the provider

    /// @inheritdoc IResolver
    function setAddr(address addr_) external onlyOwner {
        _setAddr(addr_);
    }

    /// @inheritdoc IResolver
    function setServer(string calldata server_) external onlyOwner {
        _setServer(server_);
    }

    /// @inheritdoc IResolver
    function setPubkey(bytes calldata pubkey_) external onlyOwner {
        _setPubkey(pubkey_);
    }

    // ---------------------------------------------------------------- its names

    /// @inheritdoc IResolver
    function setText(
        bytes32 node,
        string calldata key,
        string calldata value
    ) external onlyOwner {
        _requireAtMost(bytes(key).length, KEY_BYTES_MAX);
        _requireAtMost(bytes(value).length, TEXT_BYTES_MAX);
        _recordsOf(node).texts[key] = value;
        emit TextChanged(node, key, key, value);
    }

    /// @inheritdoc IResolver
    function setContenthash(bytes32 node, bytes calldata hash) external onlyOwner {
        _requireAtMost(hash.length, CONTENTHASH_BYTES_MAX);
        _recordsOf(node).contenthash = hash;
        emit ContenthashChanged(node, hash);
    }

    /// @inheritdoc IResolver
    function clearRecords(bytes32 node) external onlyOwner {
        uint64 version = ++recordVersions[node];
        emit VersionChanged(node, version);
    }

    /// @inheritdoc IEnsMulticall
    function multicall(bytes[] calldata calls) external returns (bytes[] memory answers) {
        answers = new bytes[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            // Into this contract's own code, with the caller as sender.
            answers[i] = Address.functionDelegateCall(address(this), calls[i]);
        }
    }

    // ------------------------------------------------------------------- views

    /// @inheritdoc IResolver
    function addr() external view returns (address) {
        return account;
    }

    /// @inheritdoc IEnsAddr
    function addr(bytes32) external view returns (address payable) {
        return payable(account);
    }

    /// @inheritdoc IEnsAddress
    function addr(bytes32, uint256 coinType) external view returns (bytes memory) {
        bool isHere = coinType == COIN_ETHEREUM || coinType == COIN_OTHER_CHAIN | block.chainid;
        return isHere ? abi.encodePacked(account) : bytes("");
    }

    /// @inheritdoc IEnsText
    function text(bytes32 node, string calldata key) external view returns (string memory) {
        return _recordsOf(node).texts[key];
    }

    /// @inheritdoc IEnsContenthash
    function contenthash(bytes32 node) external view returns (bytes memory) {
        return _recordsOf(node).contenthash;
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return
            interfaceId == type(IERC165).interfaceId ||
            interfaceId == type(IEnsAddr).interfaceId ||
            interfaceId == type(IEnsAddress).interfaceId ||
            interfaceId == type(IEnsText).interfaceId ||
            interfaceId == type(IEnsContenthash).interfaceId ||
            interfaceId == type(IEnsVersionable).interfaceId ||
            interfaceId == type(IEnsMulticall).interfaceId ||
            interfaceId == type(IResolver).interfaceId;
    }

    // ----------------------------------------------------------------- private

    function _recordsOf(bytes32 node) private view returns (Records storage) {
        return records[node][recordVersions[node]];
    }

    function _setAddr(address addr_) private {
        require(addr_ != address(0), AddressZero());
        account = addr_;
        emit AddrChanged(addr_);
    }

    function _setServer(string memory server_) private {
        _requireAtMost(bytes(server_).length, SERVER_BYTES_MAX);
        server = server_;
        emit ServerChanged(server_);
    }

    function _setPubkey(bytes memory pubkey_) private {
        _requireAtMost(pubkey_.length, PUBKEY_BYTES_MAX);
        pubkey = pubkey_;
        emit PubkeyChanged(pubkey_);
    }

    function _requireAtMost(uint256 length, uint256 lengthMax) private pure {
        require(length <= lengthMax, RecordTooLong(length, lengthMax));
    }
}
