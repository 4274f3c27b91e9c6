// What is asked of the benchmark and cannot be is said in one line, before anything is measured, with exit code 2.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import path from 'node:path'
import { describe, test } from 'node:test'

const MILLRACE = path.resolve(import.meta.dirname, '../cli/millrace.ts')

function bench(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [MILLRACE, 'bench', ...args], { timeout: 60_000 }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    ),
  )
}

const WRONG: readonly [args: string, said: RegExp][] = [
  ['nothing', /read "nothing", expected all, .*tcp-qos0/],
  ['tcp-qos0 --second 1', /--second: no such option; the nearest is --seconds/],
  ['tcp-qos0 --seconds none', /--seconds: read "none", expected a number above 0/],
  ['tcp-qos0 --runs 0', /--runs: read "0", expected a number above 0/],
  ['tcp-qos0 --runs', /--runs: read no value/],
  ['tcp-qos0 tcp-qos1', /unexpected argument "tcp-qos1"/],
  ['all --peer flashmq', /--peer: read "flashmq", expected NAME='COMMAND'/],
  ['tcp-qos0 --url 127.0.0.1', /--url: read "127.0.0.1", expected mqtt:\/\/HOST:PORT/],
  ['tcp-qos0 --smoke --url mqtt://127.0.0.1:1', /--url: nobody listens at 127.0.0.1:1/],
  ['compare nothing', /compare: no case "nothing"/],
  ['compare --tolerance none', /--tolerance: read "none"/],
  ['report --output x', /--output: no such option; the nearest is --out/],
  ['docs --cheque', /--cheque: no such option; the nearest is --check/],
]

describe('refused in one line', { concurrency: 4 }, () => {
  for (const [args, said] of WRONG)
    test(args, async () => {
      const { code, stdout, stderr } = await bench(args.split(' '))
      assert.equal(stdout, '')
      assert.match(stderr, said)
      assert.match(stderr, /^millrace bench: [^\n]* \[option_[a-z]+\]\n$/)
      assert.equal(code, 2)
    })
})
