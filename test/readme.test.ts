// What a new user does: the README's commands as written, on free ports and a folder of their own, and the commands that
// `up` prints exactly as it prints them.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { query, startProcess, temporaryFolder, until } from './millrace-process.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const README = fs.readFileSync(path.join(ROOT, 'README.md'), 'utf8')

/** The fenced block of a language in a section. */
function block(section: string, language: string): string {
  const text = README.split(`\n## ${section}\n`)[1]!.split('\n## ')[0]!
  const found = new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(text)
  assert.ok(found, `${section} has a block of ${language}`)
  return found[1]!
}

const shell = (script: string) =>
  promisify(execFile)('/bin/sh', ['-eu', '-c', script], { cwd: ROOT, timeout: 60_000 })

test('the README’s commands lead to a device’s row, and so do the printed ones', async (t) => {
  const data = temporaryFolder(t)
  const pump = path.join(temporaryFolder(t), 'pump.yaml')
  const running = await startProcess(data)
  t.after(() => running.kill())
  // What would be the default ports, the default folder, and a file in the working folder.
  const here = (script: string): string =>
    script
      .replaceAll('mqtt publish', `mqtt publish -p ${running.mqttPort}`)
      .replaceAll('127.0.0.1:8080', running.http.replace('http://', ''))
      .replaceAll('./millrace query', `./millrace query --data ${data}`)
      .replaceAll('pump.yaml', pump)

  fs.writeFileSync(pump, block('Your own devices', 'yaml'))
  const [first, own] = await Promise.all([
    shell(here(block('A first device', 'sh'))),
    shell(here(block('Your own devices', 'sh'))),
  ])
  assert.match(first.stdout, /^sensor-1 +2026-01-01 12:00:00\+00 +21\.5\n\(1 row\)$/m)
  assert.match(own.stdout, /family pump, version 1: default\.pump\n/)
  assert.match(own.stdout, /^pump-7 +2026-01-01 12:00:00\+00 +1 +3\.2 .*\n\(1 row\)$/m)

  const printed = running.output().split('\n')
  const commands = printed.filter((line) => /^ {2}(mosquitto_pub|node_modules\/.bin\/mqtt) /.test(line))
  assert.equal(commands.length, 2)
  const hasMosquitto = await shell('command -v mosquitto_pub').then(
    () => true,
    () => false,
  )
  const runnable = commands.filter((line) => hasMosquitto || !line.includes('mosquitto_pub'))
  for (const command of runnable) await shell(command)
  await until('the rows of the printed commands', async () => {
    const [row] = await query(data, `SELECT count(*)::INT AS n FROM telemetry WHERE pressure IS NULL`)
    return row!['n'] === runnable.length || undefined
  })
  const last = printed.find((line) => line.startsWith('  ./millrace query'))!
  assert.match((await shell(last)).stdout, new RegExp(`\\(${runnable.length + 1} rows\\)`))
  assert.equal(await running.stop(), 0)
})
