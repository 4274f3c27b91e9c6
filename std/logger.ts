// The process's log: one JSON line per event on standard error, through pino. Only the main thread writes it;
// others send it messages.
import { pino } from 'pino'

export type Logger = ReturnType<typeof createLogger>

export function createLogger(level: 'debug' | 'info' | 'warn' | 'error' | 'silent') {
  const stderr = pino.destination({ fd: 2, sync: true })
  // Who read it is gone: a log that nobody reads ends nothing.
  stderr.on('error', () => {})
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, stderr)
}
