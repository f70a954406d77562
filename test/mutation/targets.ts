/** What is mutated, and which tests are asked in which order: those first that are most likely to notice. */

const ofEscrow = [
  'Money',
  'Deposits',
  'Grants',
  'Settle',
  'Vouchers',
  'Signed',
  'Trials',
  'FaultyToken',
] as const

const targets: Readonly<Record<string, readonly string[]>> = {
  'contracts/GrantSlot.sol': ['GrantSlot', 'EscrowGrants', 'EscrowSettle', 'EscrowVouchers'],
  'contracts/VoucherRow.sol': ['VoucherRow', 'EscrowVouchers'],
  'contracts/escrow/EscrowState.sol': ['EscrowGrants', ...escrowTests('Grants')],
  'contracts/escrow/EscrowMoney.sol': ['EscrowMoney', ...escrowTests('Money')],
  'contracts/escrow/EscrowGrants.sol': ['EscrowGrants', ...escrowTests('Grants')],
  'contracts/escrow/EscrowCollection.sol': [
    'EscrowSettle',
    'EscrowVouchers',
    ...escrowTests('Settle', 'Vouchers'),
  ],
  'contracts/escrow/EscrowTrials.sol': ['EscrowTrials', ...escrowTests('Trials')],
  'contracts/Registry.sol': [
    'Registry',
    'RegistryLife',
    'RegistryBond',
    'RegistryFaultyToken',
    'UniversalResolver',
    'RegistryInvariants',
  ],
}

export const targetFiles: readonly string[] = Object.keys(targets)

/** The runner calls what it finds among the files that it is given: handlers are in support/. */
const handlers: Readonly<Record<string, string>> = {
  EscrowInvariants: 'support/EscrowVoucherHandler.sol',
  EscrowFaultyToken: 'support/FaultyHandler.sol',
  RegistryInvariants: 'support/RegistryHandler.sol',
}

/**
 * @returns Groups of files of Solidity tests: a group is asked about what those before it let pass. The last one is the
 * long sequence of random actions that is compared with the model.
 */
export function stagesOf(file: string): readonly (readonly string[])[] {
  const tests = targets[file] ?? []
  const last = file === 'contracts/Registry.sol' ? [] : ['EscrowInvariants']
  return [tests.slice(0, 1), tests.slice(1), last]
    .filter((stage) => stage.length !== 0)
    .map((stage) => stage.flatMap(filesOf))
}

function filesOf(test: string): string[] {
  const handler = handlers[test]
  return [`${test}.t.sol`, ...(handler ? [handler] : [])].map((name) => `test/contracts/${name}`)
}

function escrowTests(...without: readonly (typeof ofEscrow)[number][]): string[] {
  return ofEscrow.filter((name) => !without.includes(name)).map((name) => `Escrow${name}`)
}
