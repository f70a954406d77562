/** What a provider asks for one call, in USDC, where its operator has not said another price. */
export const priceDefault = '0.0005'
