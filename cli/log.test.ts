import assert from 'node:assert/strict'
import { test } from 'node:test'
import { log } from './log.ts'

test('the folder is that of `up`: flag, then variable, then ./data', async (t) => {
  const before = process.env['MILLRACE_DATA']
  t.after(() => {
    if (before === undefined) delete process.env['MILLRACE_DATA']
    else process.env['MILLRACE_DATA'] = before
  })
  process.env['MILLRACE_DATA'] = '/nowhere/by-variable'
  const refusal = (folder: string) => ({
    code: 'option_invalid',
    message: `--data: read "${folder}", expected a data folder; there is no log in ${folder}`,
  })
  await assert.rejects(log.run(['topics']), refusal('/nowhere/by-variable'))
  await assert.rejects(log.run(['topics', '--data', '/nowhere/by-flag']), refusal('/nowhere/by-flag'))
})

test('what is wrong is said before a log is opened', async () => {
  const wrong: [args: string[], message: RegExp][] = [
    [[], /^read "", expected topics, dump or repair$/],
    [['dumb'], /^read "dumb", expected topics, dump or repair$/],
    [['topics', 'twice'], /^unexpected argument "twice"$/],
  ]
  for (const [args, message] of wrong)
    await assert.rejects(log.run(args), { code: 'option_invalid', message, exitCode: 2 })
})
