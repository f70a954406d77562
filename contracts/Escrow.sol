// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EscrowCollection} from "./escrow/EscrowCollection.sol";
import {EscrowGrants} from "./escrow/EscrowGrants.sol";
import {EscrowState} from "./escrow/EscrowState.sol";
import {EscrowTrials} from "./escrow/EscrowTrials.sol";

/// @title Escrow: reserves in grants, settles in batches
/// @dev Its parts: what is kept (`EscrowState`), money in and out (`EscrowMoney`), what payers do
/// (`EscrowGrants`), what providers collect (`EscrowCollection`), trial calls and ratings
/// (`EscrowTrials`).
contract Escrow is EscrowGrants, EscrowCollection, EscrowTrials {
    constructor(IERC20 token_) EscrowState(token_) {}
}
