import { createRequire } from 'node:module'
import { assert } from '../../protocol/base/assert.ts'

/**
 * Every mutant of a Solidity file in one text. A mutant is chosen when the tests run, by the address of the block's
 * producer (which no contract here asks for), so that all of them need one compilation.
 */

export interface Mutant {
  readonly id: number
  readonly file: string
  readonly line: number
  /** The line as it stands, without its indent. */
  readonly context: string
  readonly before: string
  readonly after: string
  /** Which one of those in lines that read the same, from 1. */
  readonly nth: number
}

export interface MutatedFile {
  readonly text: string
  readonly mutants: readonly Mutant[]
}

/** A node of the compiler's syntax tree. */
interface Node {
  readonly nodeType: string
  readonly src: string
  readonly [member: string]: unknown
}

/** One way to write a node differently; undefined where there is nothing in its place. */
type Change = string | undefined

const require = createRequire(import.meta.url)

/** @param firstId - Of the mutants; the last one is as many higher as there are. */
export function mutateFile(file: string, source: string, firstId: number): MutatedFile {
  const bytes = Buffer.from(source)
  const mutants: Mutant[] = []

  /** Which of these this is decides who produces the block. @returns the number of the mutant. */
  function add(node: Node, change: Change): number {
    const { start, end } = rangeOf(node)
    const id = firstId + mutants.length
    const line = bytes.subarray(0, start).toString().split('\n').length
    const context = (source.split('\n')[line - 1] ?? '').trim()
    const text = (part: string) => part.replace(/\s+/g, ' ').slice(0, 100)
    const before = text(bytes.subarray(start, end).toString())
    const after = text(change ?? '(nothing)')
    const alike = mutants.filter(
      (other) => other.context === context && other.before === before && other.after === after,
    )
    mutants.push({ id, file, line, context, before, after, nth: alike.length + 1 })
    return id
  }

  /** The node with all mutants within it. A mutant's own text has none: one is chosen at a time. */
  function render(node: Node): string {
    const { start, end } = rangeOf(node)
    let text = ''
    let at = start
    // A number in an address has no variant of its own type: the whole of it has.
    const isAddress = bytes.subarray(start, end).toString() === 'address(0)'
    for (const child of isAddress ? [] : childrenOf(node)) {
      const range = rangeOf(child)
      if (range.start < at || range.end > end) continue
      text += bytes.subarray(at, range.start).toString() + render(child)
      at = range.end
    }
    text += bytes.subarray(at, end).toString()
    return mutate(node, text)
  }

  function mutate(node: Node, text: string): string {
    const original = (part: unknown) => {
      const { start, end } = rangeOf(part as Node)
      return bytes.subarray(start, end).toString()
    }
    if (isStatement(node)) {
      const id = add(node, undefined)
      // Its semicolon comes after it.
      return `if (mutant() != ${id}) ${text}`
    }
    let mutated = text
    for (const change of changesOf(node, original)) {
      const id = add(node, change)
      mutated = node.nodeType.startsWith('Yul')
        ? `add(${mutated}, eq(coinbase(), ${id}))`
        : `(mutant() == ${id} ? ${change} : (${mutated}))`
    }
    return mutated
  }

  const unit = parse(file, source)
  const text = bytes.subarray(0, rangeOf(unit).start).toString() + render(unit)
  const imported = `import {mutant} from '${'../'.repeat(file.split('/').length - 2) || './'}Mutant.sol';`
  return { text: toView(text.replace(/^pragma .*$/m, (pragma) => `${pragma}\n${imported}`)), mutants }
}

/** What reads the block is not pure, nor is what calls it. */
export const toView = (source: string) => source.replace(/\bpure\b/g, 'view')

export const mutantSource = `// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

function mutant() view returns (uint256) {
    return uint160(address(block.coinbase));
}
`

const swaps: Readonly<Record<string, readonly string[]>> = {
  '<': ['<=', '>'],
  '<=': ['<', '>'],
  '>': ['>=', '<'],
  '>=': ['>', '<'],
  '==': ['!='],
  '!=': ['=='],
  '&&': ['||'],
  '||': ['&&'],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['/'],
  '<<': ['>>'],
  '>>': ['<<'],
  '|': ['&'],
  '&': ['|'],
}

function changesOf(node: Node, original: (part: unknown) => string): string[] {
  switch (node.nodeType) {
    case 'BinaryOperation': {
      const operators = swaps[node['operator'] as string] ?? []
      return operators.map(
        (operator) =>
          `((${original(node['leftExpression'])}) ${operator} (${original(node['rightExpression'])}))`,
      )
    }
    case 'Literal':
      return node['kind'] === 'number' && !node['subdenomination'] ? [`${original(node)} + 1`] : []
    case 'YulLiteral':
      return node['kind'] === 'number' ? [`${original(node)} + 1`] : []
    case 'Identifier': {
      const name = node['name'] as string
      if (name === 'METERED') return ['address(1)']
      return /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$/.test(name) && !name.includes('HASH') ? [`(${name} + 1)`] : []
    }
    case 'FunctionCall':
      return original(node) === 'address(0)' ? ['address(1)'] : []
    case 'MemberAccess':
      return memberChanges(node, original)
    case 'UnaryOperation':
      return node['operator'] === '!' ? [`(${original(node['subExpression'])})`] : []
    default:
      return []
  }
}

function memberChanges(node: Node, original: (part: unknown) => string): string[] {
  const text = original(node)
  if (/^type\(uint\d+\)\.max$/.test(text)) return [`(${text} - 1)`]
  const reason = /^SkipReason\.(\w+)$/.exec(text)?.[1]
  if (!reason) return []
  return [reason === 'GrantMissing' ? 'SkipReason.NothingDue' : 'SkipReason.GrantMissing']
}

/** What can be left out: a call, an assignment, an event, a check. */
function isStatement(node: Node): boolean {
  return node.nodeType === 'EmitStatement' || node.nodeType === 'ExpressionStatement'
}

/** In the order of the text. Constants are numbers at compile time; types and names have no variants. */
function childrenOf(node: Node): Node[] {
  if (node.nodeType === 'VariableDeclaration' && node['constant']) return []
  const members = Object.entries(node).filter(([name]) => !skipped.has(name))
  const nodes = members.flatMap(([, value]) => (Array.isArray(value) ? value : [value])).filter(isNode)
  return nodes.sort((one, other) => rangeOf(one).start - rangeOf(other).start)
}

const skipped = new Set([
  'typeName',
  'documentation',
  'baseContracts',
  'loopExpression',
  'modifiers',
  'overrides',
  'nativeSrc',
  'parameters',
  'returnParameters',
])

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'nodeType' in value && 'src' in value
}

function rangeOf({ src }: Node): { readonly start: number; readonly end: number } {
  const [start = 0, length = 0] = src.split(':').map(Number)
  return { start, end: start + length }
}

function parse(file: string, source: string): Node {
  const solc = require('solc') as { compile(input: string): string }
  const input = {
    language: 'Solidity',
    sources: { [file]: { content: source } },
    settings: { stopAfter: 'parsing', outputSelection: { '*': { '': ['ast'] } } },
  }
  const { sources } = JSON.parse(solc.compile(JSON.stringify(input)))
  const ast: unknown = sources?.[file]?.ast
  assert(isNode(ast), `the compiler reads ${file}`)
  return ast
}
