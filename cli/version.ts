// The version of Millrace and of the Node it runs on.
import { VERSION } from '../std/version.ts'
import type { Command } from './command.ts'
import { parse } from './command.ts'

export const version: Command = {
  name: 'version',
  summary: 'Print the version',
  help: 'Usage: millrace version\n\nPrints the version of Millrace and of the Node it runs on.',
  async run(args) {
    parse(args, {})
    process.stdout.write(
      `millrace ${VERSION} (node ${process.versions.node}, ${process.platform}-${process.arch})\n`,
    )
    return 0
  },
}
