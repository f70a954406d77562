// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {
    ERC3009
} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {DevUsdc} from "../../contracts/DevUsdc.sol";
import {newDevUsdc} from "./support/Published.sol";
import {Test} from "./support/Test.sol";

/// @title The token stands in for USDC: what wallets sign for USDC, it accepts
contract DevUsdcTest is Test {
    uint256 private constant KEY = 0xA11CE;

    DevUsdc private usdc;
    address private owner = vm.addr(KEY);
    address private spender = account("spender");

    function setUp() public {
        vm.warp(NOW);
        usdc = newDevUsdc();
        usdc.mint(owner, 1_000);
    }

    function test_ItLooksLikeUsdc() public view {
        vm.assertEq(usdc.name(), "USD Coin", "name");
        vm.assertEq(usdc.symbol(), "USDC", "symbol");
        vm.assertEq(usdc.version(), "2", "version");
        assertEq(usdc.decimals(), 6, "decimals");
        (, string memory name, string memory version, uint256 chainId, address self, , ) = usdc
            .eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                self
            )
        );
        vm.assertEq(version, "2", "version of the domain");
        vm.assertEq(self, address(usdc), "contract of the domain");
        vm.assertEq(usdc.DOMAIN_SEPARATOR(), domain, "domain");
    }

    function _sign(bytes32 structHash) private view returns (uint8 v, bytes32 r, bytes32 s) {
        return
            vm.sign(KEY, keccak256(abi.encodePacked(hex"1901", usdc.DOMAIN_SEPARATOR(), structHash)));
    }

    function _signPermit(uint256 value, uint256 deadline)
        private
        view
        returns (uint8 v, bytes32 r, bytes32 s)
    {
        bytes32 typeHash = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
        );
        return
            _sign(keccak256(abi.encode(typeHash, owner, spender, value, usdc.nonces(owner), deadline)));
    }

    function test_APermitAllowsOnce() public {
        (uint8 v, bytes32 r, bytes32 s) = _signPermit(70, NOW);
        usdc.permit(owner, spender, 70, NOW, v, r, s);
        assertEq(usdc.allowance(owner, spender), 70, "allowed");
        assertEq(usdc.nonces(owner), 1, "nonce");
        vm.expectPartialRevert(DevUsdc.PermitSignerInvalid.selector);
        usdc.permit(owner, spender, 70, NOW, v, r, s);
    }

    function test_APermitHoldsForItsAmountAndTime() public {
        (uint8 v, bytes32 r, bytes32 s) = _signPermit(70, NOW);
        vm.expectPartialRevert(DevUsdc.PermitSignerInvalid.selector);
        usdc.permit(owner, spender, 71, NOW, v, r, s);
        vm.warp(NOW + 1);
        vm.expectRevert(abi.encodeWithSelector(DevUsdc.PermitExpired.selector, NOW));
        usdc.permit(owner, spender, 70, NOW, v, r, s);
    }

    function test_AnAuthorisationMovesOnce() public {
        bytes32 typeHash = keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        (uint8 v, bytes32 r, bytes32 s) = _sign(
            keccak256(abi.encode(typeHash, owner, spender, 40, 0, NOW + 1, bytes32("n")))
        );
        usdc.transferWithAuthorization(owner, spender, 40, 0, NOW + 1, "n", v, r, s);
        assertEq(usdc.balanceOf(spender), 40, "moved");
        vm.assertTrue(usdc.authorizationState(owner, "n"), "used");
        vm.expectRevert(
            abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, owner, bytes32("n"))
        );
        usdc.transferWithAuthorization(owner, spender, 40, 0, NOW + 1, "n", v, r, s);
    }
}
