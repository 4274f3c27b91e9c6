// Loaded into each file's process by test/run.ts: a file whose tests are over, or not, but which does not end, because one
// that failed left a server or a process behind, would hold up the whole run. It is ended and says what keeps it alive.
import { isMainThread } from 'node:worker_threads'
import { nodeFfi } from '../std/ffi.ts'

const ALARM_SECONDS = 10

const limitMs = Number(new URL(import.meta.url).searchParams.get('ms'))
const timer = setTimeout(() => {
  process.stderr.write(
    `${process.argv[1]} has not ended after ${limitMs / 1000} s; open: ${process.getActiveResourcesInfo().join(', ')}\n`,
  )
  process.exit(1)
}, limitMs)
// Whoever has nothing left to do ends without waiting for it.
timer.unref()

// A loop that gives no timer its turn, such as a property that is shrunk without end, is ended by alarm(2).
if (isMainThread)
  nodeFfi()
    ?.dlopen<{ alarm(seconds: number): number }>(null, { alarm: { arguments: ['u32'], return: 'u32' } })
    .functions.alarm(Math.ceil(limitMs / 1000) + ALARM_SECONDS)
