// The command line: before it loads anything else it hears the wish to end, which may come while it loads.
import { stopRequested } from './stop-signal.ts'

/** Those that run a pipeline, and so have something to end in order. */
const DRAINING = new Set(['up', 'demo'])

const argv = process.argv.slice(2)
if (DRAINING.has(argv[0] ?? '')) void stopRequested()
// A reader that goes away (`| head`) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})
const { runCommand } = await import('./commands.ts')
process.exitCode = await runCommand(argv)
