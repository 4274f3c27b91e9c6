// Runs benchmark cases, each as a process of its own: nothing of the bench is ever loaded by the pipeline.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'

const FOLDER = path.resolve(import.meta.dirname, '../bench')

/** The first line of a case: what it measures, after a word that says where it cannot run as the others do. */
const CASE_MARK = /^\/\/ Case(?: \(([a-z]+)\))?: (.+)$/m

/** A case and its peers are through by then; only those that say `(long)` may take longer. */
const CASE_SECONDS_MAX = 180

interface CaseFile {
  what: string
  /** `long`: not part of `all`. `kafka`: needs a Kafka broker. */
  note: string | undefined
}

/** By name. */
export function cases(): Map<string, CaseFile> {
  const found = new Map<string, CaseFile>()
  for (const name of fs.readdirSync(FOLDER).sort()) {
    if (!name.endsWith('.ts')) continue
    const [first = ''] = fs.readFileSync(path.join(FOLDER, name), 'utf8').split('\n', 1)
    const match = CASE_MARK.exec(first)
    if (match !== null) found.set(path.parse(name).name, { note: match[1], what: match[2]! })
  }
  return found
}

const help = (): string => `Usage: millrace bench CASE [options]
       millrace bench all [options]               every case but the long ones and those on Kafka
       millrace bench compare [CASE...] [options] measure without peers, against the stored medians of this kind of
                                                  machine (bench/baseline.json); exit code 1: something is slower
       millrace bench report [--out FILE]         a page with plots of the results in bench/results/
       millrace bench docs [--check]              renews the figures of README.md and docs/, and the picture, from the
                                                  results in bench/results/

Measures with the peers in the same run and checks that the work was really done. Prints one line a case: median,
spread, CPU of the server per message, each peer's figures and the ratio (above 1: Millrace is ahead). Each case ends
within ${CASE_SECONDS_MAX} s. Its result is kept in bench/results/CASE.json.

  --seconds S      measured time of one run
  --runs N         runs of each contestant; the figure is their median (5, fewer where a case would not end in time)
  --seed N         seed of the input (1)
  --json           one line of JSON a case instead
  --details        more lines: threads, notes, what was verified, the machine
  --smoke          a short run that only shows that the case works
  --no-peers       only Millrace
  --peer NAME='COMMAND'
                   another broker to start for the run, repeatable. In the command, {port} becomes a free port and
                   {config} a file with the best settings for a broker called flashmq, mosquitto or mosquitto-2.1.
                   A command of these names that has neither gets its option for that file at its end:
                     --peer flashmq=/usr/bin/flashmq --peer 'mosquitto-2.1=/opt/mosquitto -c {config}'
                     --peer 'other=/opt/other --port {port}'
  --url mqtt://HOST:PORT, ws://HOST:PORT/mqtt
                   a broker that runs already (its CPU is not seen)

Peers are aedes always, and mosquitto where it is installed (\`make bench-peers\`).

${[...cases()].map(([name, one]) => `  ${name.padEnd(18)}${one.what}${one.note === undefined ? '' : ` (${one.note})`}`).join('\n')}`

/** Other programs of the folder. */
const TOOLS = ['report', 'compare', 'docs']

export const bench: Command = {
  name: 'bench',
  summary: 'Measure it, with peers in the same run',
  get help() {
    return help()
  },
  async run(args) {
    const [name = '', ...rest] = args
    if (TOOLS.includes(name)) return run(name, rest, Infinity)
    const known = cases()
    if (name !== 'all' && !known.has(name))
      throw new MillraceError(
        'option_invalid',
        `read ${JSON.stringify(name)}, expected all, ${TOOLS.join(', ')} or one of ${[...known.keys()].join(', ')}`,
      )
    const chosen =
      name === 'all' ? [...known.keys()].filter((one) => known.get(one)!.note === undefined) : [name]
    let worst: number = EXIT.ok
    for (const one of chosen) {
      const code = await run(one, rest, known.get(one)!.note === 'long' ? Infinity : CASE_SECONDS_MAX)
      if (code === EXIT.ok) continue
      // What is wrong about the arguments was said.
      if (code === EXIT.usage) return code
      process.stderr.write(`millrace bench: ${one} ended with code ${code}\n`)
      worst = EXIT.failure
    }
    return worst
  },
}

function run(name: string, args: readonly string[], secondsMax: number): Promise<number> {
  const file = path.join(FOLDER, `${name}.ts`)
  const child = spawn(process.execPath, [...process.execArgv, '--expose-gc', file, ...args], {
    stdio: 'inherit',
  })
  const late =
    secondsMax === Infinity
      ? undefined
      : setTimeout(() => {
          process.stderr.write(`millrace bench: ${name} takes more than ${secondsMax} s\n`)
          child.kill('SIGTERM')
        }, secondsMax * 1000)
  return new Promise((resolve) =>
    child.once('exit', (code) => {
      clearTimeout(late)
      resolve(code ?? EXIT.failure)
    }),
  )
}
