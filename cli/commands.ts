// Picks the subcommand, turns its errors into one line and an exit code.
import { EXIT } from '../std/errors.ts'
import { type Command, reportError } from './command.ts'

/** Subcommands load only when asked for: `millrace version` must not start a database. */
const COMMANDS: Record<string, () => Promise<Command>> = {
  up: async () => (await import('./up.ts')).up,
  demo: async () => (await import('./demo.ts')).demo,
  simulate: async () => (await import('./simulate.ts')).simulate,
  replay: async () => (await import('./replay.ts')).replay,
  'replay-rejected': async () => (await import('./replay-rejected.ts')).replayRejected,
  query: async () => (await import('./query.ts')).query,
  tables: async () => (await import('./tables.ts')).tables,
  schema: async () => (await import('./schema.ts')).schema,
  streams: async () => (await import('./streams.ts')).streams,
  log: async () => (await import('./log.ts')).log,
  credentials: async () => (await import('./credentials.ts')).credentials,
  config: async () => (await import('./config.ts')).config,
  bench: async () => (await import('./bench.ts')).bench,
  version: async () => (await import('./version.ts')).version,
}

async function helpText(): Promise<string> {
  const lines: string[] = []
  for (const load of Object.values(COMMANDS)) {
    const command = await load()
    lines.push(`  ${command.name.padEnd(17)}${command.summary}`)
  }
  return `Millrace: from a device’s MQTT message to a row in an Iceberg table, in one process.

Usage: millrace COMMAND [options]

${lines.join('\n')}

\`millrace COMMAND --help\` explains one. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
70 a defect of Millrace, 74 input or output failed, 75 try again later. docs/errors.md lists all errors.
`
}

/** Runs the subcommand that `argv` names; returns the exit code. */
export async function runCommand(argv: string[]): Promise<number> {
  const [name, ...args] = argv
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    process.stdout.write(await helpText())
    return name === undefined ? EXIT.usage : EXIT.ok
  }
  const load = COMMANDS[name === '--version' ? 'version' : name]
  if (load === undefined) {
    process.stderr.write(`millrace: no command ${JSON.stringify(name)}; \`millrace --help\` lists them\n`)
    return EXIT.usage
  }
  const command = await load()
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(`${command.help}\n`)
    return EXIT.ok
  }
  try {
    return await command.run(args)
  } catch (error) {
    return reportError(error, name)
  }
}
