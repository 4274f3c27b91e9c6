// Case: garbage collection of a minute under the load of tcp-qos1-8x1024
//
// The server runs with V8's --trace-gc, and its threads count their collections (watch-threads.ts); what is said is of
// the threads that a message passes, after a warm-up. It fails when one of them collects its old space (mark-compact:
// something is kept that should not be), or spends more than two per cent of its time on young objects.
import { OurSide } from './broker-case.ts'
import { type CaseArguments, caseMain, caseResult, round, summarise } from './harness.ts'
import { pinning } from './processes.ts'
import type { CaseResult } from './result.ts'
import { ThreadWatch } from './thread-watch.ts'

const LOAD = { qos: 1, connections: 8, window: 1024 } as const
const SECONDS_DEFAULT = 60
const SECONDS_MAX = 120
/** Until everything is compiled and the heaps have their size. */
const WARMUP_SECONDS = 5
const SHARE_MAX = 0.02

export async function run(args: CaseArguments): Promise<CaseResult> {
  const watch = new ThreadWatch()
  const side = await OurSide.start({ env: { ...watch.env, BENCH_TRACE_GC: '1' } })
  const warmup = args.smoke ? 0.1 : WARMUP_SECONDS
  // Its threads write every half second: twice at the least.
  const seconds = args.smoke ? 1.2 : Math.min(args.seconds, SECONDS_MAX)
  const { run: measured, report } = await side.run(LOAD, false, { seconds, warmup, seed: args.seed })
  const toMs = Date.now() - report.drainSeconds * 1000
  const threads = watch
    .read(toMs - seconds * 1000, toMs)
    .filter(({ thread }) => /^(ingest|log)/.test(thread))
    .sort((a, b) => a.thread.localeCompare(b.thread))
  const traced = side.server.process.output.match(/ms: (Scavenge|Mark-Compact)/g)?.length ?? 0
  const verified = await side.verify()
  if (threads.length < 2) throw new Error(`only ${threads.length} threads said how they were`)
  if (traced === 0) throw new Error('V8 traced no collection')
  if (!args.smoke)
    for (const { thread, markCompacts, gcMs, seconds: seen } of threads) {
      const share = gcMs / 1000 / seen
      if (markCompacts > 0 || share > SHARE_MAX)
        throw new Error(`${thread}: ${markCompacts} mark-compacts, ${round(share * 100, 2)} % of its time`)
    }
  const mebibytes = (bytes: number): number => round(bytes / 2 ** 20, 1)
  return {
    ...caseResult('gc', args, 'msg/s', summarise([measured]), verified, []),
    threads: side.threads.at(-1)!,
    tables: [
      {
        title: `Garbage collection of ${round(seconds, 0)} s, ${measured.messages} messages`,
        columns: [
          'thread',
          'scavenges',
          'messages for one',
          'mark-compacts',
          '% of its time',
          'heap MiB first',
          'last',
        ],
        rows: threads.map((one) => [
          one.thread,
          one.scavenges,
          Math.round(measured.messages / Math.max(1, one.scavenges)),
          one.markCompacts,
          round(one.gcMs / one.seconds / 10, 2),
          mebibytes(one.heapBytesFirst),
          mebibytes(one.heapBytesLast),
        ]),
      },
    ],
    notes: [pinning, `${traced} lines of --trace-gc, start and warm-up and all threads included`],
  }
}

if (import.meta.main) await caseMain(run, SECONDS_DEFAULT, 1)
