import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tables } from './tables.ts'

const wrong: [args: string[], message: string][] = [
  [['heal'], 'read "heal", expected list, health or maintain'],
  [['heal', 'telemetry'], 'read "heal", expected list, health or maintain'],
  [['--data', '/nowhere'], '--data /nowhere: no catalog.db there; start Millrace with that folder first'],
  [
    ['health', '--catalog', 'sqlite:/nowhere/lake.db'],
    '--catalog sqlite:/nowhere/lake.db: no such file; start Millrace with that catalog first',
  ],
]
for (const [args, message] of wrong)
  test(`refused with what to do: tables ${args.join(' ')}`, async () => {
    await assert.rejects(async () => tables.run(args), { code: 'option_invalid', message, exitCode: 2 })
  })
