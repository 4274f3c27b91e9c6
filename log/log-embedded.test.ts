import { SimulatedDisk } from '../std/disk-simulated.ts'
import { describeLog } from './log-conformance.ts'
import { openEmbeddedLog } from './log-embedded.ts'

describeLog('embedded', async () => {
  let now = 1_700_000_000_000
  const log = openEmbeddedLog({
    disk: new SimulatedDisk(),
    dir: '/data/log',
    segmentBytes: 1 << 20,
    now: () => now,
    tombstoneAgeMs: 60_000,
    background: false,
  })
  return {
    log,
    now: () => now,
    maintain: async (elapsedMs) => {
      now += elapsedMs
      log.maintainAll()
    },
    tombstoneAgeMs: 60_000,
    close: () => log.close(),
  }
})
