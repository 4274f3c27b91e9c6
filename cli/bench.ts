// Runs benchmark cases, each as a process of its own: nothing of the bench is ever loaded by the pipeline.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'

const FOLDER = path.resolve(import.meta.dirname, '../bench')

/** A case is a file that says so in its first line; the others are what cases share. */
const CASE_MARK = /^\/\/ Case: (.+)$/m

function cases(): Map<string, string> {
  const found = new Map<string, string>()
  for (const name of fs.readdirSync(FOLDER).sort()) {
    if (!name.endsWith('.ts')) continue
    const [first = ''] = fs.readFileSync(path.join(FOLDER, name), 'utf8').split('\n', 1)
    const match = CASE_MARK.exec(first)
    if (match !== null) found.set(path.parse(name).name, match[1]!)
  }
  return found
}

const help = (): string => `Usage: millrace bench CASE [--seconds S] [--runs N] [--seed N] [--json] [--smoke]
       millrace bench all

Measures one case, or all of them one after the other, with its peers in the same run, and checks that the work was
really done. Prints median, spread, CPU per message, the peers' figures and the ratio.

  --json     one line of JSON per case
  --smoke    a short run that only shows that the case works

${[...cases()].map(([name, what]) => `  ${name.padEnd(18)}${what}`).join('\n')}`

export const bench: Command = {
  name: 'bench',
  summary: 'Measure it, with peers in the same run',
  get help() {
    return help()
  },
  async run(args) {
    const [name, ...rest] = args
    const known = cases()
    if (name === undefined || (name !== 'all' && !known.has(name)))
      throw new MillraceError(
        'option_invalid',
        `read ${JSON.stringify(name ?? '')}, expected all or one of ${[...known.keys()].join(', ')}`,
      )
    let worst: number = EXIT.ok
    for (const one of name === 'all' ? known.keys() : [name]) {
      const code = await run(path.join(FOLDER, `${one}.ts`), rest)
      if (code !== 0) {
        process.stderr.write(`millrace bench: ${one} ended with code ${code}\n`)
        worst = EXIT.failure
      }
    }
    return worst
  },
}

function run(file: string, args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, '--expose-gc', file, ...args], {
    stdio: 'inherit',
  })
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? EXIT.failure)))
}
