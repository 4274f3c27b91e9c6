// Trying again, for what talks to a server: pauses that double, each with a random half so that many writers do
// not come back at once. What may be tried again is for the caller to say: only it knows what a second try does.
//
// The tries of one request end soon, because other tables wait behind it; the patience for a server that is away for
// hours is the stage's (run.ts), which parks a table and comes back to it.
import type { Clock } from './file-names.ts'

const TRIES_MAX = 6
const PAUSE_MS_FIRST = 100
const PAUSE_MS_MAX = 3000
/** After the first try; none begins later, however few there were. */
const TRY_MS_MAX = 10_000

/** Runs `work` until it settles well, fails for good, or has failed too often or for too long; then its last error is thrown. */
export async function retrying<T>(
  clock: Clock,
  work: () => Promise<T>,
  mayRetry: (error: unknown) => boolean,
): Promise<T> {
  const endMs = clock.now() + TRY_MS_MAX
  for (let tries = 1; ; tries++) {
    const fullMs = Math.min(PAUSE_MS_MAX, PAUSE_MS_FIRST * 2 ** (tries - 1))
    const pauseMs = fullMs * (0.5 + Math.random() / 2)
    try {
      return await work()
    } catch (error) {
      if (tries >= TRIES_MAX || clock.now() + pauseMs > endMs || !mayRetry(error)) throw error
    }
    await clock.sleep(pauseMs)
  }
}
