import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { lockDataFolder } from './data-folder.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-lock-'))
after(() => fs.rmSync(folder, { recursive: true, force: true }))

test('a folder is made, taken once, and free after its release', () => {
  const dir = path.join(folder, 'a', 'b')
  const held = lockDataFolder(dir)
  assert.equal(held.path, dir)
  assert.throws(() => lockDataFolder(dir), { code: 'data_in_use' })
  held.release()
  lockDataFolder(dir).release()
})

test('the lock of a process that was killed is gone', async () => {
  const dir = path.join(folder, 'killed')
  const code = `import { lockDataFolder } from ${JSON.stringify(new URL('./data-folder.ts', import.meta.url).href)}
globalThis.held = lockDataFolder(${JSON.stringify(dir)}); console.log('held'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await once(child.stdout, 'data')
    assert.throws(() => lockDataFolder(dir), { code: 'data_in_use' })
  } finally {
    child.kill('SIGKILL')
  }
  await once(child, 'exit')
  lockDataFolder(dir).release()
})

test('a folder that cannot be made says so', () => {
  const file = path.join(folder, 'file')
  fs.writeFileSync(file, '')
  assert.throws(() => lockDataFolder(path.join(file, 'data')), { code: 'data_unwritable' })
})
