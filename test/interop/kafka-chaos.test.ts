// Two minutes of chaos on one broker; `make chaos` has three, and as many minutes as one wants.
import { test } from 'node:test'
import { chaos } from '../kafka/chaos.ts'

const SEED = Number(process.env['MILLRACE_SEED'] ?? 20_261_125)

test(`chaos on Kafka: acknowledged is in topic and table exactly once, in order (seed ${SEED})`, {
  timeout: 900_000,
}, async (t) => {
  await chaos({ durationMs: 120_000, brokers: 1, seed: SEED, say: (line) => t.diagnostic(line) })
})
