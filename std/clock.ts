// The wall clock, which people and daemons set: forwards, and back.

/** Whether `intervalMs` have gone by since `sinceMs`. A clock that was set back must not stop what is done every so often. */
export const hasElapsed = (sinceMs: number, intervalMs: number, nowMs: number): boolean =>
  nowMs - sinceMs >= intervalMs || nowMs < sinceMs
