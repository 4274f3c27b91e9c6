// Flags of the benchmark's programs, told of in the words of every other command: one line, exit code 2.
import type { ParseArgsOptionsConfig } from 'node:util'
import { parse, reportError } from '../cli/command.ts'
import { MillraceError } from '../std/errors.ts'

/** The arguments of this process, or its end with what is wrong about them. */
export function benchArguments<T extends ParseArgsOptionsConfig>(options: T, positionalsMax = 0) {
  try {
    return parse(process.argv.slice(2), options, positionalsMax)
  } catch (error) {
    process.exit(reportError(error, 'bench'))
  }
}

/** Ends the process: what was asked for cannot be. */
export function refuse(reason: string): never {
  process.exit(reportError(new MillraceError('option_invalid', reason), 'bench'))
}
