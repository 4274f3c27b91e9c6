import { describeLog } from './log-conformance.ts'
import { MemoryLog } from './log-memory.ts'

describeLog('in memory', async () => {
  let now = 1_700_000_000_000
  const log = new MemoryLog({ now: () => now, tombstoneAgeMs: 60_000 })
  return {
    log,
    now: () => now,
    maintain: async (elapsedMs) => {
      now += elapsedMs
      log.maintain()
    },
    tombstoneAgeMs: 60_000,
    close: () => log.close(),
  }
})
