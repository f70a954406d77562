import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { errorTable } from '../protocol/errors.ts'

/** Checks over the source itself: import fences, and tables that stand twice. */

const root = join(import.meta.dirname, '..')

/** Which top-level rooms a room may import from, besides itself. DESIGN: dependencies point one way. */
const fences: Readonly<Record<string, readonly string[]>> = {
  'protocol/base': [],
  protocol: ['protocol/base'],
  'protocol/frames': ['protocol', 'protocol/base'],
  'protocol/http': ['protocol', 'protocol/base'],
  'protocol/chain': ['protocol', 'protocol/base'],
  'protocol/ipfs': ['protocol', 'protocol/base', 'protocol/http'],
  'tunnel-client': ['protocol', 'protocol/base', 'protocol/frames', 'protocol/http'],
  provider: [
    'protocol',
    'protocol/base',
    'protocol/http',
    'protocol/chain',
    'protocol/ipfs',
    'tunnel-client',
  ],
  gateway: [
    'protocol',
    'protocol/base',
    'protocol/frames',
    'protocol/http',
    'protocol/chain',
    'protocol/ipfs',
  ],
}

function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.includes('node_modules'))
    .map((path) => join(folder, path))
}

/** The room of a file: the longest fence that holds it, else its top folder. */
function roomOf(path: string): string {
  const rooms = Object.keys(fences).filter((room) => path.startsWith(`${room}/`))
  return rooms.sort((a, b) => b.length - a.length)[0] ?? path.split('/')[0] ?? path
}

function importsOf(path: string): string[] {
  const source = readFileSync(join(root, path), 'utf8')
  return [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, specifier]) =>
    relative(root, resolve(root, dirname(path), specifier as string)),
  )
}

const fenced = ['protocol', 'provider', 'gateway', 'tunnel-client'].flatMap(sourceFiles)

test('imports point one way: base, protocol, then provider, gateway and tunnel client, never across', () => {
  const isTest = (path: string) => path.endsWith('.test.ts')
  const crossings = fenced
    .filter((path) => !isTest(path))
    .flatMap((path) => {
      const room = roomOf(path)
      const allowed = [room, ...(fences[room] ?? [])]
      return importsOf(path)
        .filter((target) => !allowed.includes(roomOf(target)))
        .map((target) => `${path} imports ${target}`)
    })
  expect(fenced.length).toBeGreaterThan(30)
  expect(crossings).toEqual([])
})

test('nobody imports the command line, and only tests and benches import what tests share', () => {
  const all = [...fenced, ...['devnet', 'bench'].flatMap(sourceFiles)]
  const wrong = all.flatMap((path) =>
    importsOf(path)
      .filter(
        (target) =>
          target.startsWith('cli/') ||
          (target.startsWith('test/') && !path.endsWith('.test.ts') && !path.startsWith('bench/')),
      )
      .map((target) => `${path} imports ${target}`),
  )
  expect(wrong).toEqual([])
})

test('the protocol says nothing about machines: files at its top level do no I/O', () => {
  const io = /from 'node:(?:fs|net|http|https|tls|child_process|dgram|worker_threads|sqlite)/
  const wrong = readdirSync(join(root, 'protocol'))
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .filter((name) => io.test(readFileSync(join(root, 'protocol', name), 'utf8')))
  expect(wrong).toEqual([])
})

test("IPFS's own reader serves tests only, and never asks for all blocks of a file at once", () => {
  const everywhere = [...fenced, ...['cli', 'devnet', 'test', 'bench'].flatMap(sourceFiles)]
  const users = everywhere.filter((path) =>
    /from '(?:@helia\/unixfs|ipfs-unixfs-exporter)'/.test(readFileSync(join(root, path), 'utf8')),
  )
  expect(users.filter((path) => !path.endsWith('.test.ts'))).toEqual([])
  const greedy = users.flatMap((path) => {
    const source = readFileSync(join(root, path), 'utf8')
    const reads = source.match(/\.cat\(|exporter\(/g)?.length ?? 0
    return reads > (source.match(/blockReadConcurrency: [4-8]\b/g)?.length ?? 0) ? [path] : []
  })
  expect(greedy).toEqual([])
})

test('the reference of errors has one entry for each code, and no other', () => {
  const readme = readFileSync(join(root, 'protocol', 'README.md'), 'utf8')
  const described = [...readme.matchAll(/^- `([a-z_]+)`/gm)].map(([, code]) => code)
  expect(described.sort()).toEqual(Object.keys(errorTable).sort())
})

test("each of the glossary's words is a file of the protocol", () => {
  const words = [
    'program',
    'deployment',
    'owner',
    'provider',
    'payer',
    'grant',
    'credits',
    'pass',
    'voucher',
    'call',
    'receipt',
  ]
  const files = readdirSync(join(root, 'protocol'))
  for (const word of [...words, 'settlement', 'gateway', 'tunnel', 'name'])
    expect(files).toContain(`${word}.ts`)
})

test('the lockfile names no registry', () => {
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8')
  expect(lock).not.toContain('"resolved": "http')
})

test('the lockfile names the packages of all platforms, as npm refuses to install from one that does not', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>
  }
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !packages[`node_modules/${name}`] && !packages[`${path}/node_modules/${name}`],
    ),
  )
  expect(Object.keys(packages).length).toBeGreaterThan(100)
  expect(missing).toEqual([])
})

test('nothing is left for later, mocked, skipped without a reason or retried', () => {
  const files = [
    'protocol',
    'provider',
    'gateway',
    'tunnel-client',
    'cli',
    'devnet',
    'test',
    'bench',
    'examples',
  ].flatMap(sourceFiles)
  const forbidden = new RegExp(
    ['TO' + 'DO', 'FIX' + 'ME', 'vi\\.mo' + 'ck', '\\.on' + 'ly\\(', 'retry: *[1-9]'].join('|'),
  )
  expect(files.filter((path) => forbidden.test(readFileSync(join(root, path), 'utf8')))).toEqual([])
})

test.each(['money.md', 'isolation.md', 'receipts.md'])('every test that docs/%s names is there', (name) => {
  const page = readFileSync(join(root, 'docs', name), 'utf8')
  const named = [...page.matchAll(/`([\w./-]+\.(?:ts|t\.sol)): ([^`]+)`/g)]
  const missing = named
    .filter(([, path = '', title = '']) => {
      const source = readFileSync(join(root, path), 'utf8')
      if (path.endsWith('.sol')) return !source.includes(`function ${title}(`)
      const isTitle = (line: string) =>
        /^\s*(?:test|describe|\](?: as const)?\)|['`"])/.test(line) && line.includes(title)
      return path.endsWith('.test.ts') ? !source.split('\n').some(isTitle) : !source.includes(title)
    })
    .map(([reference]) => reference)
  expect(named.length).toBeGreaterThan(5)
  expect(missing).toEqual([])
})
