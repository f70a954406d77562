// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title A smart account with one key, and with all the ways to answer badly
contract Wallet {
    enum Mood {
        Honest,
        Reverts,
        BurnsGas,
        AnswersNothing,
        AnswersALot,
        SaysNo,
        SaysYes,
        AnswersDirty,
        BurnsSome
    }

    address public key;
    Mood public mood;

    constructor(address key_) {
        key = key_;
    }

    function setMood(Mood mood_) external {
        mood = mood_;
    }

    /// @notice Does whatever the test wants in the wallet's name.
    function act(address target, bytes calldata data) external {
        (bool done, bytes memory answer) = target.call(data);
        require(done, string(answer));
    }

    function isValidSignature(
        bytes32 digest,
        bytes calldata signature
    ) external view returns (bytes32) {
        bytes32 yes = bytes32(bytes4(0x1626ba7e));
        if (mood == Mood.SaysYes) return yes;
        if (mood == Mood.SaysNo) return bytes32(bytes4(0xffffffff));
        if (mood == Mood.AnswersDirty) return yes | bytes32(uint256(1));
        if (mood == Mood.Reverts) revert("no");
        if (mood == Mood.AnswersNothing) {
            assembly {
                return(0, 0)
            }
        }
        if (mood == Mood.AnswersALot) {
            assembly {
                return(0, 600000)
            }
        }
        if (mood == Mood.BurnsGas) {
            uint256 sum = 0;
            while (true) ++sum;
        }
        if (mood == Mood.BurnsSome) {
            uint256 before = gasleft();
            while (before - gasleft() < 3_000_000) {}
        }
        return ECDSA.recoverCalldata(digest, signature) == key ? yes : bytes32(0);
    }
}
