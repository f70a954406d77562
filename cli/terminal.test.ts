import { PassThrough } from 'node:stream'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTerminal, toPlainText } from './terminal.ts'

function setup({ json = false, columns }: { json?: boolean; columns?: number } = {}) {
  const written = { out: '', error: '', rawModes: [] as boolean[] }
  const keyboard = new PassThrough()
  const stdin = Object.assign(keyboard, {
    isTTY: true,
    setRawMode: (mode: boolean) => written.rawModes.push(mode),
  })
  const interrupt = new AbortController()
  const streams = {
    stdin,
    writeOut(text: string | Uint8Array) {
      written.out += text
    },
    writeError(text: string) {
      written.error += text
    },
    ...(columns !== undefined && { errorColumns: () => columns }),
  }
  return { terminal: createTerminal(streams, { json }, interrupt.signal), written, keyboard, interrupt }
}

test('people get text, scripts one line of JSON with amounts as strings', () => {
  const people = setup()
  people.terminal.print('5 USDC', { amountUsdc: 5_000_000n })
  expect(people.written.out).toBe('5 USDC\n')
  const script = setup({ json: true })
  script.terminal.print('5 USDC', { amountUsdc: 5_000_000n })
  expect(script.written.out).toBe('{"amountUsdc":"5000000"}\n')
})

test('a secret is read without an echo, with corrections, over many pieces', async () => {
  const { terminal, written, keyboard } = setup()
  const secret = terminal.askSecret('Password')
  const bytes = Buffer.from('pää\u007f\u007f\u00e4\u00e4ß€x\u007f\rrest')
  for (const byte of bytes) keyboard.write(Buffer.of(byte))
  expect(await secret).toBe('pääß€')
  expect(written.rawModes).toEqual([true, false])
  expect(written.error).toBe('Password: \n')
})

test('Ctrl-C while a secret is typed ends it, and the terminal echoes again', async () => {
  const { terminal, written, keyboard } = setup()
  const secret = terminal.askSecret('Password')
  keyboard.write('half\u0003')
  await expect(secret).rejects.toMatchObject({ code: 'not_confirmed' })
  expect(written.rawModes).toEqual([true, false])
})

test('a signal ends a question', async () => {
  const { terminal, interrupt } = setup()
  const asked = terminal.confirm('Go ahead?')
  const reason = new DOMException('Interrupted.', 'AbortError')
  interrupt.abort(reason)
  await expect(asked).rejects.toBe(reason)
})

test('what strangers wrote cannot steer the terminal', () => {
  const { terminal, written } = setup()
  terminal.note('\u001b[2Jgone\rback\u009b31m \u202eesrever')
  expect(written.error).toBe('\\u001b[2Jgone\\u000dback\\u009b31m \\u202eesrever\n')
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(toPlainText(text)).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/)
    }),
  )
})

test('a status line stays below the notes, is written over, never wraps, and is nowhere but at a terminal', () => {
  const { terminal, written } = setup({ columns: 10 })
  const erase = '\r\u001b[2K'
  terminal.note('first')
  terminal.status('1 request and more')
  terminal.note('second')
  terminal.status('2\u001b\n')
  terminal.status('')
  terminal.note('third')
  expect(written.error).toBe(`first\n1 request${erase}second\n1 request${erase}2\\u001b ${erase}third\n`)
  const piped = setup()
  piped.terminal.status('nothing')
  piped.terminal.note('note')
  expect(piped.written.error).toBe('note\n')
})
