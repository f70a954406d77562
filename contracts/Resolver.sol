// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IResolver} from "./interfaces/IResolver.sol";

/// @title Resolver: the records of one provider
contract Resolver is IResolver {
    uint256 private constant SERVER_BYTES_MAX = 512;
    uint256 private constant PUBKEY_BYTES_MAX = 1024;

    /// @inheritdoc IResolver
    address public immutable owner;
    /// @inheritdoc IResolver
    address public addr;
    /// @inheritdoc IResolver
    string public server;
    /// @inheritdoc IResolver
    bytes public pubkey;

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

    function _setAddr(address addr_) private {
        require(addr_ != address(0), AddressZero());
        addr = addr_;
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
