import manifest from '../package.json' with { type: 'json' }

/** The version that the market's parts give as their own. */
export const { version } = manifest
