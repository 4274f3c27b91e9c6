import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { addressOf, parse, textTable } from './command.ts'

const OPTIONS = { data: { type: 'string' }, workers: { type: 'string' }, json: { type: 'boolean' } } as const

test('flags, positionals and what is left out', () => {
  const { values, positionals } = parse(['a', '--data', 'd', '--json', '--workers=-5'], OPTIONS, 1)
  assert.deepEqual({ ...values }, { data: 'd', json: true, workers: '-5' })
  assert.deepEqual(positionals, ['a'])
  // A value that begins with a dash is for the option's own check to refuse, in its own words.
  assert.equal(parse(['--workers', '-5'], OPTIONS).values.workers, '-5')
})

const wrong: [args: string[], code: string, message: string][] = [
  [['--dat', 'd'], 'option_unknown', '--dat: no such option; the nearest is --data'],
  [['--constructor'], 'option_unknown', '--constructor: no such option; the nearest is --workers'],
  [['-x'], 'option_unknown', '-x: no such option; the nearest is --data'],
  [['--data'], 'option_invalid', '--data: read no value, expected one after it'],
  [['--data', '--json'], 'option_invalid', '--data: read no value, expected one after it'],
  [['--json=yes'], 'option_invalid', '--json: read "yes", expected no value: the option stands alone'],
  [['--json', 'extra'], 'option_invalid', 'unexpected argument "extra"'],
]
for (const [args, code, message] of wrong)
  test(`refused in one line: ${args.join(' ')}`, () => {
    assert.throws(() => parse(args, OPTIONS), { code, message, exitCode: 2 })
  })

test('an address is one of its protocol, without a slash at its end', () => {
  assert.equal(addressOf('--http', 'https://host:8080/', 'http'), 'https://host:8080')
  for (const value of ['nonsense', 'localhost:8080', 'mqtt://host'])
    assert.throws(() => addressOf('--http', value, 'http'), {
      code: 'option_invalid',
      message: `--http: read "${value}", expected http://HOST:PORT`,
    })
  assert.equal(addressOf('--url', 'mqtt://host:1883', 'mqtt'), 'mqtt://host:1883')
})

test('a table is aligned, numbers to the right', () => {
  assert.equal(
    textTable(
      ['name', 'n'],
      [
        ['a', 1],
        ['bb', 200],
      ],
    ),
    'name    n\n────  ───\na       1\nbb    200',
  )
})

test('a million lines reach a reader that is slow to begin', async () => {
  const lines = 1_200_000
  const script = `import { writeLines } from ${JSON.stringify(new URL('command.ts', import.meta.url).href)}
await writeLines(Array(${lines}).fill('x'), (line) => line)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await sleep(200)
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  const [code] = await once(child, 'close')
  assert.deepEqual([code, bytes], [0, 2 * lines])
})
