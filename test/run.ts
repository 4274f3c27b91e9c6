// Runs the given test files, each in a process of its own, as `node --test` does, but for two things: three at a
// time (--concurrency N), because two cores, the reference, are not busy with two (a third of the time they wait for a
// start, a commit, a timer); and those that start whole processes first, because they take longest: one of them
// begun last would leave a core with nothing to do.
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { parseArgs } from 'node:util'

const startsProcesses = (file: string): boolean => /^(?:\.\/)?(?:test|bench)\//.test(file)

const { values: flags, positionals: given } = parseArgs({
  allowPositionals: true,
  options: {
    concurrency: { type: 'string', default: '3' },
    // These two as `node --test` has them.
    'test-timeout': { type: 'string', default: '240000' },
    'test-name-pattern': { type: 'string', multiple: true, default: [] },
  },
})
const files = [
  ...given.filter((file) => startsProcesses(file)),
  ...given.filter((file) => !startsProcesses(file)),
]
if (files.length === 0) {
  process.stderr.write('test/run: no test files were given\n')
  process.exit(2)
}
const testMs = Number(flags['test-timeout'])
// Long tests have limits of their own.
const fileMs = process.env['MILLRACE_LONG'] === '1' ? 2 ** 31 - 1 : 2 * testMs
const fileLimit = new URL(`./file-limit.ts?ms=${fileMs}`, import.meta.url)
const events = run({
  files,
  concurrency: Number(flags.concurrency),
  timeout: testMs,
  execArgv: ['--import', fileLimit.href],
  testNamePatterns: flags['test-name-pattern'],
})
events.on('test:fail', ({ todo }) => {
  if (todo === undefined || todo === false) process.exitCode = 1
})
events.compose(spec).pipe(process.stdout)
// Whoever reads has seen enough (`| head`).
process.stdout.on('error', () => process.exit())
