/** For a program of one's own, on one's own machine: what it fetches from may run there, too. */
export const egressPrivateOption = {
  'egress-private': {
    type: 'boolean',
    help: 'Let the program reach this machine and its network, where its manifest lists them in "egress"',
  },
} as const
