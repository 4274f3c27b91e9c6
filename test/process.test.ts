// The process as whoever runs it meets it: its signals at any moment, what it says when it cannot start, and what it
// leaves alone in its folder. Several at a time, because most of it is the start of a process.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LAUNCHER, millrace, startProcess, temporaryFolder, until } from './millrace-process.ts'

const FREE = ['--mqtt', '127.0.0.1:0', '--ws', '127.0.0.1:0', '--http', '127.0.0.1:0']
const STOP_MS_MAX = 20_000

/** Preloaded, it says whether the process would end in order by then when it comes to load more than the first lines. */
const HOOK = `import { registerHooks } from 'node:module'
registerHooks({ load(url, context, next) {
  if (url.endsWith('/cli/commands.ts')) process.stderr.write('listens: ' + (process.listenerCount('SIGTERM') > 0))
  return next(url, context)
} })`

interface Started {
  child: ChildProcess
  output(): string
  /** Exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals | null>
}

/** Starts `up` in a process group of its own, as a shell does; `by` is what it is started with. */
function start(
  t: TestContext,
  by: readonly string[] = [LAUNCHER],
  env: NodeJS.ProcessEnv = {},
  data = temporaryFolder(t),
): Started {
  const [command, ...before] = by
  const child = spawn(command!, [...before, 'up', '--data', data, ...FREE], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    env: { ...process.env, ...env },
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('exit', (code, signal) => resolve(code ?? signal)),
  )
  t.after(() => child.exitCode === null && child.signalCode === null && process.kill(-child.pid!, 'SIGKILL'))
  return { child, output: () => text, ended }
}

const running = (started: Started): Promise<true> =>
  until('the banner', async () => started.output().includes('millrace query') || undefined)

async function endsWith(started: Started, expected: number | NodeJS.Signals): Promise<void> {
  const at = performance.now()
  const timer = setTimeout(() => process.kill(-started.child.pid!, 'SIGKILL'), STOP_MS_MAX)
  const got = await started.ended
  clearTimeout(timer)
  assert.equal(got, expected, started.output())
  assert.ok(performance.now() - at < STOP_MS_MAX)
}

describe('signals', { concurrency: 3 }, () => {
  test('SIGTERM while it still loads, and while it starts', async (t) => {
    const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(HOOK)}` }
    const loads = (started: Started): Promise<true> =>
      until('the first line', async () => started.output().includes('listens: true') || undefined)
    const whole = start(t, [LAUNCHER], env)
    await loads(whole)
    const loadsAt = performance.now()
    await running(whole)
    const startMs = performance.now() - loadsAt
    whole.child.kill('SIGTERM')
    await endsWith(whole, 0)
    for (const share of [0, 0.6]) {
      const started = start(t, [LAUNCHER], env)
      await loads(started)
      await sleep(startMs * share)
      started.child.kill('SIGTERM')
      await endsWith(started, 0)
    }
  })

  test('SIGTERM again while it drains changes nothing', async (t) => {
    const started = start(t)
    await running(started)
    for (let i = 0; i < 3; i++) {
      started.child.kill('SIGTERM')
      await sleep(20)
    }
    await endsWith(started, 0)
    assert.match(started.output(), /drained: everything acknowledged is in the tables/)
  })

  test('a terminal that is closed drains it', async (t) => {
    const started = start(t)
    await running(started)
    started.child.stdout!.destroy()
    started.child.stderr!.destroy()
    started.child.kill('SIGHUP')
    await endsWith(started, 0)
  })

  test('Ctrl-C under `node millrace` reaches it twice and counts once', async (t) => {
    const started = start(t, [process.execPath, LAUNCHER])
    await running(started)
    process.kill(-started.child.pid!, 'SIGINT')
    await endsWith(started, 0)
    assert.match(started.output(), /drained: everything acknowledged is in the tables/)
  })
})

test('it is not ready while its tables are still being made', async (t) => {
  // A catalog that takes every call and answers none.
  const silent = net.createServer((socket) => t.after(() => socket.destroy())).listen(0, '127.0.0.1')
  await new Promise((resolve) => silent.once('listening', resolve))
  t.after(() => silent.close())
  const { port } = silent.address() as net.AddressInfo
  const data = temporaryFolder(t)
  // The contracts are registered: nothing but the tables is left to be done at the next start.
  assert.equal(await (await startProcess(data)).stop(), 0)
  const started = start(t, [LAUNCHER], { MILLRACE_CATALOG: `http://127.0.0.1:${port}` }, data)
  await running(started)
  const http = /http:\/\/127\.0\.0\.1:\d+/.exec(started.output().split('HTTP ')[1]!)![0]
  const answer = await fetch(`${http}/readyz`)
  assert.equal(answer.status, 503)
  assert.match(await answer.text(), /tables are being made/)
})

describe('a start that fails says why, in one line', { concurrency: 3 }, () => {
  const refused = async (args: string[], code: number, message: RegExp): Promise<void> => {
    const { code: got, stderr } = await millrace(['up', ...FREE, ...args])
    assert.match(stderr, message)
    assert.equal(stderr.trimEnd().split('\n').length, 1, stderr)
    assert.equal(got, code)
  }

  for (const option of ['mqtt', 'ws', 'http'])
    test(`--${option} is taken`, async (t) => {
      const server = net.createServer().listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      t.after(() => server.close())
      const { port } = server.address() as net.AddressInfo
      const message = new RegExp(`--${option}: 127.0.0.1:${port} is taken .*\\[address_in_use\\]`)
      await refused([`--${option}`, `127.0.0.1:${port}`, '--data', temporaryFolder(t)], 1, message)
    })

  test('the data folder is a file, or no folder can be made there', async (t) => {
    const file = path.join(temporaryFolder(t), 'file')
    fs.writeFileSync(file, '')
    await refused(['--data', file], 74, /data folder .*file cannot be written: ENOTDIR.*\[data_unwritable\]/)
    // mkdir answers ENOENT there, which Node's recursive one takes for a reason to go on for ever.
    if (process.platform === 'linux')
      await refused(['--data', '/proc/data'], 74, /data folder \/proc\/data cannot be written: ENOENT/)
  })

  test('the catalog is no database', async (t) => {
    const data = temporaryFolder(t)
    fs.writeFileSync(path.join(data, 'catalog.db'), 'no database, but long enough to be looked at')
    await refused(['--data', data], 74, /the catalog .*catalog\.db cannot be opened: file is not a database/)
  })

  test('the data folder is in use; what else lies in it is left alone', async (t) => {
    const data = temporaryFolder(t)
    fs.mkdirSync(path.join(data, 'log'))
    for (const name of ['notes.txt', 'log/notes.txt']) fs.writeFileSync(path.join(data, name), 'mine')
    const first = await startProcess(data)
    t.after(() => first.stop())
    await refused(
      ['--data', data],
      1,
      /data folder .* is in use by another process; .*--log kafka:.*\[data_in_use\]/,
    )
    assert.equal(await first.stop(), 0)
    for (const name of ['notes.txt', 'log/notes.txt'])
      assert.equal(fs.readFileSync(path.join(data, name), 'utf8'), 'mine')
  })
})
