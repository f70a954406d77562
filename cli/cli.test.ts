import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import packageJson from '../package.json' with { type: 'json' }
import { commandName } from './command.ts'
import { commandNames, findCommand } from './commands.ts'
import { createTestUser } from './testing.ts'

async function answerOf(argv: readonly string[]): Promise<string> {
  await using user = await createTestUser()
  const { exitCode, stdout, stderr } = await user.run(argv)
  return `${stdout}${stderr}exit ${exitCode}`
}

test('the version is that of the package', async () => {
  expect(await answerOf(['--version'])).toBe(`${packageJson.version}\nexit 0`)
})

test('without a command, with help and with --help, all commands are listed', async () => {
  const help = await answerOf([])
  expect(await answerOf(['help'])).toBe(help)
  expect(await answerOf(['--help'])).toBe(help)
  for (const name of commandNames()) expect(help).toContain(`\n  ${name} `)
})

test('every command stands under the name of its usage, and its help has examples of itself', async () => {
  for (const name of commandNames()) {
    const command = await findCommand(name)!.load()
    expect(commandName(command.usage)).toBe(name)
    expect(command.examples.length).toBeGreaterThan(0)
    for (const example of command.examples) expect(`${example} `).toMatch(new RegExp(`^${name} `))
    const help = await answerOf([...name.split(' '), '--help'])
    expect(help).toContain(`Usage: khachapuri ${command.usage}\n`)
    expect(help).toContain('exit 0')
    expect(await answerOf(['help', ...name.split(' ')])).toBe(help)
  }
})

test('the list of commands', async () => {
  expect(await answerOf(['help'])).toMatchInlineSnapshot(`
    "khachapuri: pay-per-call compute that anybody can host, anybody can pay for and everybody can check

    Usage: khachapuri <command> [flags]

    Programs:
      init                    Make a small working program to start from
      build                   Bundle a program into a zip, the same bytes every time
      id                      Compute the ids of a zip, offline
      run                     Run a program on this machine, without chain and money
      dev                     Run a program on this machine, and build it anew whenever it changes
      bench                   Call a URL many times at once, and show how long answers take
      deploy                  Publish a program for providers to run, and get its callable CID
      versions                List what was deployed of a program
      diff                    Show what changed between two versions
      rollback                Deploy an earlier version again
      name register           Give a deployment a name, and so a URL that stays
      name set                Point a name to another deployment or other providers
      name rollback           Point a name back to the deployment before
      name show               Show what a name stands for and who serves it
      name list               List the names of an account
      name renew              Keep a name for another year
      name release            Give a name back, and get its bond
      domain add              Serve a deployment under a domain of your own
      domain show             Show what a domain stands for
      domain remove           Take a domain of a local market away
      secret put              Keep a secret for the next deploys
      secret list             List the names of the secrets that were put
      secret rm               Forget a secret
      limits                  Show what a program may use, and what happens beyond it
      verify                  Check what a provider signed about a call
      verify-attestation      Check that a program said something, and who signed it, offline
      attestation aggregate   Add attestations of several providers up to one signature
      replay                  Run a recorded call again, and prove it where its provider lied
      logs                    Read what a deployment of yours printed, and its calls

    Money:
      balance                 Show what an account has
      deposit                 Bring USDC into the escrow
      withdraw                Take free USDC back
      approve                 Reserve a budget for a provider
      allowance               Show a grant
      revoke                  End a grant
      reclaim                 Get back what an ended grant has left
      call                    Call a program as curl does, and pay by voucher or pass
      swarm call              Ask several providers at once, take the answer that most gave, and name who lied
      swarm verify-selection  Draw the members of a swarm again, offline
      verify-swarm            Check what came of a swarm, offline
      voucher create          Sign a set of vouchers, one for each of several providers
      pass create             Sign a token that pays for plain curl calls
      pass list               Show passes, and what was spent of each
      pass revoke             Take a pass back
      statement               Show what became of the money, call by call, and compare it with the chain
      receipts                Write down what a provider shows of your calls, for others to count
      resolve                 Show what the chain says of a provider
      ping                    Ask a provider for a signed sign of life, and compare clocks
      did                     Fetch a provider's DID document, and hold it against the chain
      reputation              Add up what others paid a provider, from the chain and receipts
      faucet                  Make USDC on a development chain

    Operating:
      tunnel                  Put a web server of this machine on a public URL, from behind any router
      provider up             Register a name and serve programs for money, from anywhere
      provider status         Show what a running provider is owed, and how it is
      provider disputes       Show and decide what the chain says was paid and nobody has proved
      provider price          Change what a call costs
      provider policy         Say what a provider runs, and how much it gives away
      provider statement      Show what was earned, call by call, and compare it with the chain
      provider rotate-key     Have secrets sealed for a new key, and keep the old one for a while
      provider endpoint       Change where callers come: an address, or the tunnel of a gateway
      credits grant           Give a user trial calls
      credits list            Show trial calls that were given and used
      contracts deploy        Make escrow and registry on a chain that has none
      gateway up              Run a gateway for providers and callers
      gateway dev-cert        Make a certificate for a gateway on this machine
      gateway check-config    Say what is wrong with the settings of a gateway

    Keys:
      key new                 Make an account in an encrypted keystore file
      key import              Encrypt an existing private key, read from standard input
      key list                List the accounts of the keystore
      key show                Show an account's address and file

    This command line:
      doctor                  Say what is wrong with this machine, its market and its account
      completion              Print a script by which a shell completes commands and flags

    Everywhere:
      --json                  One JSON object on standard output: the answer, or a problem with a "code"
      --help                  Help for a command, with examples
      --version               The version

    Exit codes: 0 done, 1 refused, 2 wrong usage, 70 a bug of ours, 130 interrupted.
    exit 0"
  `)
})

test('the readme names every command', async () => {
  const readme = await readFile(new URL('README.md', import.meta.url), 'utf8')
  for (const name of commandNames()) expect(readme).toContain(`\`${name}\``)
})

test('help of a command', async () => {
  expect(await answerOf(['id', '--help'])).toMatchInlineSnapshot(`
    "Compute the ids of a zip, offline.

    Usage: khachapuri id <zip>

    Nothing is fetched and nobody is asked. The programId is sha256(program digest ‖ sha256(canonical params)); up to
    1 MiB of zip the program digest is its SHA-256, so two lines of shell give the same:
      params=$(printf {} | sha256sum | cut -d" " -f1)  # canonical JSON: sorted names, no spaces
      printf "$(sha256sum < app.zip | cut -d" " -f1)$params" | tr a-f A-F | basenc -d --base16 | sha256sum

    Flags:
      --params <json>  Public params in place of those in the manifest
      --json           Print one JSON object instead of text
      -h, --help       Show this help

    Examples:
      khachapuri id dist/app.zip
      khachapuri id dist/app.zip --params '{"greeting":"Hello"}' --json
    exit 0"
  `)
})

test('help of a noun', async () => {
  expect(await answerOf(['key', '--help'])).toMatchInlineSnapshot(`
    "Commands of "key":
      key new     Make an account in an encrypted keystore file
      key import  Encrypt an existing private key, read from standard input
      key list    List the accounts of the keystore
      key show    Show an account's address and file
    exit 0"
  `)
})

test('wrong usage is refused with what would be right', async () => {
  const lines = [
    'buidl',
    'key',
    'key lsit',
    'frobnicate',
    '--frobnicate',
    'build --outptu x',
    'build --frobnicate=1',
    'build --output',
    'build --json=1',
    'build one two',
    'id',
    'pass create --provider alice --max-spend 1',
  ]
  const transcript = []
  for (const line of lines) transcript.push(`$ khachapuri ${line}\n${await answerOf(line.split(' '))}`)
  expect(transcript.join('\n')).toMatchInlineSnapshot(`
    "$ khachapuri buidl
    Error: There is no command "buidl".
    Did you mean "build"?
    (usage_invalid)
    exit 2
    $ khachapuri key
    Error: "key" needs to know what to do.
    Try one of: key new, key import, key list, key show.
    (usage_invalid)
    exit 2
    $ khachapuri key lsit
    Error: There is no command "key lsit".
    Try one of: key new, key import, key list, key show.
    (usage_invalid)
    exit 2
    $ khachapuri frobnicate
    Error: There is no command "frobnicate".
    See "khachapuri help".
    (usage_invalid)
    exit 2
    $ khachapuri --frobnicate
    Error: There is no flag --frobnicate before a command.
    See "khachapuri help".
    (usage_invalid)
    exit 2
    $ khachapuri build --outptu x
    Error: There is no flag --outptu here.
    Did you mean --output? See "khachapuri build --help".
    (usage_invalid)
    exit 2
    $ khachapuri build --frobnicate=1
    Error: There is no flag --frobnicate here.
    See "khachapuri build --help".
    (usage_invalid)
    exit 2
    $ khachapuri build --output
    Error: --output needs a value: --output <file>.
    See "khachapuri build --help".
    (usage_invalid)
    exit 2
    $ khachapuri build --json=1
    Error: --json takes no value.
    See "khachapuri build --help".
    (usage_invalid)
    exit 2
    $ khachapuri build one two
    Error: "two" is one argument too many.
    Usage: khachapuri build [dir]
    (usage_invalid)
    exit 2
    $ khachapuri id
    Error: <zip> is missing.
    Usage: khachapuri id <zip>
    (usage_invalid)
    exit 2
    $ khachapuri pass create --provider alice --max-spend 1
    Error: --max-price <usdc> is missing.
    See "khachapuri pass create --help".
    (usage_invalid)
    exit 2"
  `)
})

test.each(['--private-key', '--key', '--mnemonic', '--password', '-pk', '--PrivateKey'])(
  '%s on the command line is refused without repeating the secret',
  async (flag) => {
    const secret = 'f'.repeat(64)
    for (const argv of [
      ['key', 'import', 'me', flag, secret],
      ['key', 'import', 'me', `${flag}=${secret}`],
    ]) {
      const answer = await answerOf(argv)
      expect(answer).toContain('A key or password is not accepted on the command line')
      expect(answer).toContain('exit 2')
      expect(answer).not.toContain('ffff')
    }
  },
)

test('under --json a refusal is one problem document on standard output', async () => {
  await using user = await createTestUser()
  const result = await user.run(['build', '--json'])
  expect(result.exitCode).toBe(1)
  expect(result.json()).toMatchObject({ code: 'program_invalid', hint: expect.any(String), status: 422 })
  expect(result.stderr).toBe('')
})

test('a failure that nobody foresaw exits with 70 and asks for a report', async () => {
  await using user = await createTestUser()
  const impossible = new Proxy(
    {},
    {
      get: () => {
        throw new TypeError('broken on purpose')
      },
      ownKeys: () => [],
    },
  )
  const { exitCode, stderr } = await user.run(['key', 'list'], {
    env: { KHACHAPURI_HOME: impossible as never },
  })
  expect(exitCode).toBe(70)
  expect(stderr).toContain('This is a bug: please report it')
})

test('a place that takes no file is told as that, and is no bug of ours', async () => {
  await using user = await createTestUser()
  await writeFile(join(user.dir, 'file'), '')
  await user.run(['init', 'app'])
  const env = { KHACHAPURI_HOME: join(user.dir, 'file', 'home'), KHACHAPURI_PASSWORD: 'long enough' }
  for (const line of ['init file/app', 'build app -o app', 'build app -o file/app.zip', 'key new me']) {
    const { exitCode, json } = await user.run([...line.split(' '), '--json'], { env })
    expect([exitCode, json()]).toMatchObject([
      1,
      { code: 'config_invalid', hint: expect.stringContaining('disk') },
    ])
  }
})

test('a directory where a file is meant is named in words, and not by the draft that was to take its place', async () => {
  await using user = await createTestUser()
  await user.run(['init', 'app'])
  for (const line of [
    'build app -o app',
    'gateway dev-cert --dir app/khachapuri.json',
    'id app',
    'init app/khachapuri.json/x',
  ]) {
    const { exitCode, stderr } = await user.run(line.split(' '))
    expect([exitCode, stderr]).toEqual([
      1,
      expect.stringMatching(/(directory|else is there) \(E[A-Z]+\)\.\n/),
    ])
    expect(stderr).not.toContain('draft')
  }
})

test('what is nearly a flag before a command is guessed, and -v is the version', async () => {
  await using user = await createTestUser()
  expect((await user.run(['-v'])).stdout).toBe((await user.run(['--version'])).stdout)
  expect((await user.run(['--versoin'])).stderr).toContain('Did you mean --version?')
})

test('a program that is not there is told as that by dev, too', async () => {
  await using user = await createTestUser()
  const { exitCode, stderr } = await user.run(['dev', 'nowhere'])
  expect([exitCode, stderr]).toEqual([1, expect.stringContaining('There is no program at')])
})

test('a directory without a provider is told, and no rules are written where nobody reads them', async () => {
  await using user = await createTestUser()
  const dir = join(user.dir, 'typo')
  const { exitCode, stderr } = await user.run(['provider', 'policy', 'deny', 'native', '--dir', dir])
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(`There is no provider in ${dir}.`)])
  await expect(stat(dir)).rejects.toMatchObject({ code: 'ENOENT' })
})
