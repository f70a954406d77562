import { parseArgs } from 'node:util'
import { runCrashes } from './harness.ts'

/** `npm run test:crash`: kills a provider a thousand times and compares the books after each time. */
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
  },
})
const startedMs = performance.now()
console.log(`${values.kills} kills with seed ${values.seed}`)
const report = await runCrashes({
  kills: Number(values.kills),
  seed: Number(values.seed),
  onProgress: (line) => console.log(line),
})
const seconds = Math.round((performance.now() - startedMs) / 1000)
console.log(
  JSON.stringify(
    { ...report, seconds },
    (_, value) => (typeof value === 'bigint' ? String(value) : value),
    2,
  ),
)
process.exit(0)
