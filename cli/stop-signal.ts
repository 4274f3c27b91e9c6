// The wish to end, from the first line on: the command line asks for it before it loads anything, because a
// supervisor's SIGTERM may come while the modules still load, and its default would be a death without exit code 0.
//
//   SIGTERM, SIGHUP     end in order; again: nothing more, it is under way
//   SIGINT              the same; again, after a moment: now. A terminal sends Ctrl-C to the whole group, and a
//                       parent in it (npx, `node millrace`) may pass it on: what comes within that moment is the same.

/** As shells have it: 128 and the signal's number. */
const EXIT_SIGINT = 130
const SAME_SIGNAL_MS = 500

let requested: Promise<void> | undefined

/** Resolves at the first of the signals. From the first call on they end nothing by themselves. */
export function stopRequested(): Promise<void> {
  requested ??= new Promise((resolve) => {
    let firstAt: number | undefined
    const stop = (): void => {
      firstAt ??= performance.now()
      resolve()
    }
    process.on('SIGTERM', stop)
    process.on('SIGHUP', stop)
    process.on('SIGINT', () => {
      // The log is crash-safe: who cannot wait may go.
      if (firstAt !== undefined && performance.now() - firstAt > SAME_SIGNAL_MS) process.exit(EXIT_SIGINT)
      stop()
    })
  })
  return requested
}
