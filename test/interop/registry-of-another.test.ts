// The embedded registry of one Millrace as the external registry of another: both ends of Confluent's API.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import {
  contractOf,
  type ExternalServer,
  externalRegistrySuite,
  registerContract,
} from '../external-registry.ts'
import { LAUNCHER, startProcess, temporaryFolder } from '../millrace-process.ts'

const NO_STREAMS = ['--mqtt', 'off', '--ws', 'off']

test('another Millrace’s registry gives the ids, judges, and may be away', async (t) => {
  const folder = temporaryFolder(t)
  const data = path.join(folder, 'registry')
  let running = await startProcess(data, NO_STREAMS)
  t.after(() => running.kill())
  const { httpPort, http } = running
  const server: ExternalServer = {
    url: `${http}/schema-registry`,
    stop: () => running.kill(),
    startAgain: async () => {
      running = await startProcess(data, [...NO_STREAMS, '--http', `127.0.0.1:${httpPort}`])
    },
  }
  await externalRegistrySuite(t, folder, server)
  // A log keeps the registry that it began with.
  const other = temporaryFolder(t)
  const second = await startProcess(other, NO_STREAMS)
  t.after(() => second.kill())
  assert.equal((await registerContract(second.http, contractOf('pump', 'long'))).status, 201)
  await second.stop()
  const wrong = spawnSync(
    LAUNCHER,
    ['up', '--data', other, ...NO_STREAMS, '--http', '127.0.0.1:0', '--schema-registry', server.url],
    { encoding: 'utf8', timeout: 30_000 },
  )
  assert.notEqual(wrong.status, 0)
  assert.match(wrong.stderr, /a log keeps the registry that it began with/)
})
