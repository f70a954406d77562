// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {IEnsRegistry} from "./IEnsRegistry.sol";

/// @title Names and who answers for them
/// @notice A name is known by its node, the ENS namehash of a name of one label:
/// `keccak256(bytes32(0) ‖ keccak256(label))`. Its owner points it to a resolver.
///
/// A name is taken in two steps, so that nobody who watches the chain can take it first: a
/// commitment that tells nothing, and 60 seconds to 24 hours later the registration that it was
/// made of. A bond stands for the name as long as it has an owner, and comes back in full.
///
/// After its expiry a name resolves for 30 days more, in which it can only be renewed or given
/// back. Then it has lapsed: nobody owns it. A name that lapsed or was given back is nobody's for
/// 7 days, so that its clients notice; then anybody may register it, under a higher version.
interface IRegistry is IEnsRegistry, IERC165 {
    /// @notice Somebody will register a name, 60 seconds to 24 hours from now.
    event Committed(bytes32 indexed commitment);
    /// @notice `node`, the name `label`, belongs to `owner` until `expiry`.
    event Registered(
        bytes32 indexed node,
        address indexed owner,
        string label,
        address resolver,
        uint256 expiry,
        uint32 version
    );
    /// @notice `node` now expires at `expiry`.
    event Renewed(bytes32 indexed node, uint256 expiry);
    /// @notice `owner` gave `node` back and has its bond.
    event Unregistered(bytes32 indexed node, address indexed owner);
    /// @notice The bond of `owner`'s lapsed name waits for it: see `withdrawRefund`.
    event RefundDue(address indexed owner, uint256 amount);
    /// @notice `owner` took the bonds of its lapsed names back.
    event RefundWithdrawn(address indexed owner, uint256 amount);

    /// @notice There is no contract at the token's address.
    error TokenMissing(address token);
    /// @notice The token moved another amount than it was asked to. Nothing has changed.
    error TokenMovedOther(uint256 moved, uint256 amount);
    /// @notice A label has 3 to 63 of `a-z`, `0-9` and `-`, begins and ends without `-`, and has
    /// no `--` as its third and fourth (those would be read as another script).
    error LabelInvalid(string label);
    /// @notice A name needs an owner. To have none, give it back.
    error OwnerZero();
    /// @notice A name needs a resolver. To stop it from resolving, give it back.
    error ResolverZero();
    /// @notice Names are taken for 28 days at least and ten years at most.
    error DurationOutOfRange(uint256 seconds_, uint256 secondsMin, uint256 secondsMax);
    /// @notice Somebody owns this name.
    error NodeTaken(bytes32 node, address owner);
    /// @notice The name was given back or lapsed not long ago.
    error NodeInQuarantine(bytes32 node, uint256 freeFrom);
    /// @notice Nobody committed to exactly this registration.
    error CommitmentMissing(bytes32 commitment);
    /// @notice A commitment can be used after 60 seconds.
    error CommitmentTooNew(bytes32 commitment, uint256 usableFrom);
    /// @notice A commitment can be used for 24 hours. Commit again.
    error CommitmentTooOld(bytes32 commitment, uint256 usableUntil);
    /// @notice Only the owner of the name, or where it says so an operator, may do this; zero
    /// means that nobody owns it.
    error NotNodeOwner(bytes32 node, address owner, address caller);
    /// @notice The name has expired: renew it first.
    error NodeExpired(bytes32 node, uint256 expiry);
    /// @notice No bond waits for the caller.
    error RefundZero();

    /// @notice Says that the caller, or somebody, will register what the commitment was made of.
    /// Saying it again while it can be used changes nothing, so nobody can put it off.
    /// @param commitment See `makeCommitment`; to be computed where nobody else looks on.
    function commit(bytes32 commitment) external;

    /// @notice Takes a free name that was committed to, and the bond from the caller. The bond
    /// belongs to the name's owner from then on.
    /// @param label The name, such as `alice`.
    /// @param owner_ Who will own the name.
    /// @param resolver_ Which contract knows the name's records.
    /// @param durationSeconds From now until the name expires: 28 days to ten years.
    /// @param secret Any number that nobody could guess, as in the commitment.
    function register(
        string calldata label,
        address owner_,
        address resolver_,
        uint256 durationSeconds,
        bytes32 secret
    ) external returns (bytes32 node);

    /// @notice Lets the name expire `durationSeconds` after its expiry, or after now if that is
    /// past; at most ten years from now. Its owner or an operator.
    function renew(bytes32 node, uint256 durationSeconds) external;

    /// @notice Gives the name back for its bond. Only its owner, or its last one if it lapsed.
    function unregister(bytes32 node) external;

    /// @notice Takes back the bonds of the caller's lapsed names that others have registered.
    function withdrawRefund() external;

    /// @notice What the bonds are in.
    function bondToken() external view returns (IERC20);

    /// @notice What stands for each name while it has an owner, in units of the token.
    function bond() external view returns (uint256);

    /// @notice What waits for `account` to be withdrawn.
    function refundOf(address account) external view returns (uint256);

    /// @notice When the commitment was made; zero if never, or if it was used.
    function committedAt(bytes32 commitment) external view returns (uint256);

    /// @notice What to commit to. Warning: whoever answers this call learns the secret.
    function makeCommitment(
        string calldata label,
        address owner_,
        address resolver_,
        uint256 durationSeconds,
        bytes32 secret
    ) external view returns (bytes32);

    /// @notice When the name expires or expired; zero if nobody owns it.
    function expiry(bytes32 node) external view returns (uint256);

    /// @notice How often the name was registered. Whatever was agreed under another version was
    /// agreed with somebody else.
    function version(bytes32 node) external view returns (uint32);

    /// @notice From when on anybody may register the name; zero if it never had an owner.
    function freeFrom(bytes32 node) external view returns (uint256);
}
