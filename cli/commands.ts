import type { Command } from './command.ts'

export interface CommandEntry {
  /** One line of the command list. It stands here, so that listing the commands loads none of them. */
  readonly summary: string
  readonly load: () => Promise<Command>
}

export interface CommandGroup {
  readonly title: string
  readonly commands: Readonly<Record<string, CommandEntry>>
}

/** Every command by its name, in the order in which somebody new needs them. Each is loaded when it is used. */
export const commandGroups: readonly CommandGroup[] = [
  {
    title: 'Programs',
    commands: {
      init: {
        summary: 'Make a small working program to start from',
        load: async () => (await import('./commands/init.ts')).init,
      },
      build: {
        summary: 'Bundle a program into a zip, the same bytes every time',
        load: async () => (await import('./commands/build.ts')).build,
      },
      id: {
        summary: 'Compute the ids of a zip, offline',
        load: async () => (await import('./commands/id.ts')).id,
      },
      run: {
        summary: 'Run a program on this machine, without chain and money',
        load: async () => (await import('./commands/run.ts')).run,
      },
      dev: {
        summary: 'Run a program on this machine, and build it anew whenever it changes',
        load: async () => (await import('./commands/dev.ts')).dev,
      },
      bench: {
        summary: 'Call a URL many times at once, and show how long answers take',
        load: async () => (await import('./commands/bench.ts')).bench,
      },
      deploy: {
        summary: 'Publish a program for providers to run, and get its callable CID',
        load: async () => (await import('./commands/deploy.ts')).deploy,
      },
      versions: {
        summary: 'List what was deployed of a program',
        load: async () => (await import('./commands/versions.ts')).versions,
      },
      diff: {
        summary: 'Show what changed between two versions',
        load: async () => (await import('./commands/diff.ts')).diff,
      },
      rollback: {
        summary: 'Deploy an earlier version again',
        load: async () => (await import('./commands/rollback.ts')).rollback,
      },
      'name register': {
        summary: 'Give a deployment a name, and so a URL that stays',
        load: async () => (await import('./commands/name/register.ts')).nameRegister,
      },
      'name set': {
        summary: 'Point a name to another deployment or other providers',
        load: async () => (await import('./commands/name/set.ts')).nameSet,
      },
      'name rollback': {
        summary: 'Point a name back to the deployment before',
        load: async () => (await import('./commands/name/rollback.ts')).nameRollback,
      },
      'name show': {
        summary: 'Show what a name stands for and who serves it',
        load: async () => (await import('./commands/name/show.ts')).nameShow,
      },
      'name list': {
        summary: 'List the names of an account',
        load: async () => (await import('./commands/name/list.ts')).nameList,
      },
      'name renew': {
        summary: 'Keep a name for another year',
        load: async () => (await import('./commands/name/renew.ts')).nameRenew,
      },
      'name release': {
        summary: 'Give a name back, and get its bond',
        load: async () => (await import('./commands/name/release.ts')).nameRelease,
      },
      'domain add': {
        summary: 'Serve a deployment under a domain of your own',
        load: async () => (await import('./commands/domain/add.ts')).domainAdd,
      },
      'domain show': {
        summary: 'Show what a domain stands for',
        load: async () => (await import('./commands/domain/show.ts')).domainShow,
      },
      'domain remove': {
        summary: 'Take a domain of a local market away',
        load: async () => (await import('./commands/domain/remove.ts')).domainRemove,
      },
      'secret put': {
        summary: 'Keep a secret for the next deploys',
        load: async () => (await import('./commands/secret/put.ts')).secretPut,
      },
      'secret list': {
        summary: 'List the names of the secrets that were put',
        load: async () => (await import('./commands/secret/list.ts')).secretList,
      },
      'secret rm': {
        summary: 'Forget a secret',
        load: async () => (await import('./commands/secret/rm.ts')).secretRm,
      },
      limits: {
        summary: 'Show what a program may use, and what happens beyond it',
        load: async () => (await import('./commands/limits.ts')).limits,
      },
      verify: {
        summary: 'Check what a provider signed about a call',
        load: async () => (await import('./commands/verify.ts')).verify,
      },
      'verify-attestation': {
        summary: 'Check that a program said something, and who signed it, offline',
        load: async () => (await import('./commands/verify-attestation.ts')).verifyAttestationCommand,
      },
      'attestation aggregate': {
        summary: 'Add attestations of several providers up to one signature',
        load: async () => (await import('./commands/attestation/aggregate.ts')).attestationAggregate,
      },
      replay: {
        summary: 'Run a recorded call again, and prove it where its provider lied',
        load: async () => (await import('./commands/replay.ts')).replay,
      },
      logs: {
        summary: 'Read what a deployment of yours printed, and its calls',
        load: async () => (await import('./commands/logs.ts')).logs,
      },
    },
  },
  {
    title: 'Money',
    commands: {
      balance: {
        summary: 'Show what an account has',
        load: async () => (await import('./commands/balance.ts')).balance,
      },
      deposit: {
        summary: 'Bring USDC into the escrow',
        load: async () => (await import('./commands/deposit.ts')).deposit,
      },
      withdraw: {
        summary: 'Take free USDC back',
        load: async () => (await import('./commands/withdraw.ts')).withdraw,
      },
      approve: {
        summary: 'Reserve a budget for a provider',
        load: async () => (await import('./commands/approve.ts')).approve,
      },
      allowance: {
        summary: 'Show a grant',
        load: async () => (await import('./commands/allowance.ts')).allowance,
      },
      revoke: {
        summary: 'End a grant',
        load: async () => (await import('./commands/revoke.ts')).revoke,
      },
      reclaim: {
        summary: 'Get back what an ended grant has left',
        load: async () => (await import('./commands/reclaim.ts')).reclaim,
      },
      call: {
        summary: 'Call a program as curl does, and pay by voucher or pass',
        load: async () => (await import('./commands/call.ts')).call,
      },
      'swarm call': {
        summary: 'Ask several providers at once, take the answer that most gave, and name who lied',
        load: async () => (await import('./commands/swarm/call.ts')).swarmCall,
      },
      'swarm verify-selection': {
        summary: 'Draw the members of a swarm again, offline',
        load: async () => (await import('./commands/swarm/verify-selection.ts')).swarmVerifySelection,
      },
      'verify-swarm': {
        summary: 'Check what came of a swarm, offline',
        load: async () => (await import('./commands/verify-swarm.ts')).verifySwarmCommand,
      },
      'voucher create': {
        summary: 'Sign a set of vouchers, one for each of several providers',
        load: async () => (await import('./commands/voucher/create.ts')).voucherCreate,
      },
      'pass create': {
        summary: 'Sign a token that pays for plain curl calls',
        load: async () => (await import('./commands/pass/create.ts')).passCreate,
      },
      'pass list': {
        summary: 'Show passes, and what was spent of each',
        load: async () => (await import('./commands/pass/list.ts')).passList,
      },
      'pass revoke': {
        summary: 'Take a pass back',
        load: async () => (await import('./commands/pass/revoke.ts')).passRevoke,
      },
      statement: {
        summary: 'Show what became of the money, call by call, and compare it with the chain',
        load: async () => (await import('./commands/statement.ts')).statement,
      },
      receipts: {
        summary: 'Write down what a provider shows of your calls, for others to count',
        load: async () => (await import('./commands/receipts.ts')).receipts,
      },
      resolve: {
        summary: 'Show what the chain says of a provider',
        load: async () => (await import('./commands/resolve.ts')).resolve,
      },
      ping: {
        summary: 'Ask a provider for a signed sign of life, and compare clocks',
        load: async () => (await import('./commands/ping.ts')).ping,
      },
      did: {
        summary: "Fetch a provider's DID document, and hold it against the chain",
        load: async () => (await import('./commands/did.ts')).did,
      },
      reputation: {
        summary: 'Add up what others paid a provider, from the chain and receipts',
        load: async () => (await import('./commands/reputation.ts')).reputation,
      },
      faucet: {
        summary: 'Make USDC on a development chain',
        load: async () => (await import('./commands/faucet.ts')).faucet,
      },
    },
  },
  {
    title: 'Operating',
    commands: {
      tunnel: {
        summary: 'Put a web server of this machine on a public URL, from behind any router',
        load: async () => (await import('./commands/tunnel.ts')).tunnel,
      },
      'provider up': {
        summary: 'Register a name and serve programs for money, from anywhere',
        load: async () => (await import('./commands/provider/up.ts')).providerUp,
      },
      'provider status': {
        summary: 'Show what a running provider is owed, and how it is',
        load: async () => (await import('./commands/provider/status.ts')).providerStatus,
      },
      'provider disputes': {
        summary: 'Show and decide what the chain says was paid and nobody has proved',
        load: async () => (await import('./commands/provider/disputes.ts')).providerDisputes,
      },
      'provider price': {
        summary: 'Change what a call costs',
        load: async () => (await import('./commands/provider/price.ts')).providerPrice,
      },
      'provider policy': {
        summary: 'Say what a provider runs, and how much it gives away',
        load: async () => (await import('./commands/provider/policy.ts')).providerPolicy,
      },
      'provider statement': {
        summary: 'Show what was earned, call by call, and compare it with the chain',
        load: async () => (await import('./commands/provider/statement.ts')).providerStatement,
      },
      'provider rotate-key': {
        summary: 'Have secrets sealed for a new key, and keep the old one for a while',
        load: async () => (await import('./commands/provider/rotate-key.ts')).providerRotateKey,
      },
      'provider endpoint': {
        summary: 'Change where callers come: an address, or the tunnel of a gateway',
        load: async () => (await import('./commands/provider/endpoint.ts')).providerEndpoint,
      },
      'credits grant': {
        summary: 'Give a user trial calls',
        load: async () => (await import('./commands/credits/grant.ts')).creditsGrant,
      },
      'credits list': {
        summary: 'Show trial calls that were given and used',
        load: async () => (await import('./commands/credits/list.ts')).creditsList,
      },
      'contracts deploy': {
        summary: 'Make escrow and registry on a chain that has none',
        load: async () => (await import('./commands/contracts/deploy.ts')).contractsDeploy,
      },
      'gateway up': {
        summary: 'Run a gateway for providers and callers',
        load: async () => (await import('./commands/gateway/up.ts')).gatewayUp,
      },
      'gateway dev-cert': {
        summary: 'Make a certificate for a gateway on this machine',
        load: async () => (await import('./commands/gateway/dev-cert.ts')).gatewayDevCert,
      },
      'gateway check-config': {
        summary: 'Say what is wrong with the settings of a gateway',
        load: async () => (await import('./commands/gateway/check-config.ts')).gatewayCheckConfig,
      },
    },
  },
  {
    title: 'Keys',
    commands: {
      'key new': {
        summary: 'Make an account in an encrypted keystore file',
        load: async () => (await import('./commands/key/new.ts')).keyNew,
      },
      'key import': {
        summary: 'Encrypt an existing private key, read from standard input',
        load: async () => (await import('./commands/key/import.ts')).keyImport,
      },
      'key list': {
        summary: 'List the accounts of the keystore',
        load: async () => (await import('./commands/key/list.ts')).keyList,
      },
      'key show': {
        summary: "Show an account's address and file",
        load: async () => (await import('./commands/key/show.ts')).keyShow,
      },
    },
  },
  {
    title: 'This command line',
    commands: {
      doctor: {
        summary: 'Say what is wrong with this machine, its market and its account',
        load: async () => (await import('./commands/doctor.ts')).doctor,
      },
      completion: {
        summary: 'Print a script by which a shell completes commands and flags',
        load: async () => (await import('./commands/completion.ts')).createCompletion(commandGroups),
      },
    },
  },
]

/** The entry of a command's name, or undefined. */
export function findCommand(name: string): CommandEntry | undefined {
  return commandGroups.map(({ commands }) => commands).find((commands) => Object.hasOwn(commands, name))?.[
    name
  ]
}

export function commandNames(): readonly string[] {
  return commandGroups.flatMap(({ commands }) => Object.keys(commands))
}
