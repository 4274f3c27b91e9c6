// The embedded registry of one Millrace as the external registry of another: both ends of Confluent's API.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { test } from 'node:test'
import {
  contractOf,
  type ExternalServer,
  externalRegistrySuite,
  registerContract,
} from '../external-registry.ts'
import { LAUNCHER, millrace as runMillrace, startProcess, temporaryFolder } from '../millrace-process.ts'

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

test('over TLS, with basic authentication: let in with both, refused without either', async (t) => {
  const folder = temporaryFolder(t)
  const registry = await startProcess(path.join(folder, 'registry'), NO_STREAMS)
  t.after(() => registry.kill())
  const key = path.join(folder, 'key.pem')
  const ca = path.join(folder, 'cert.pem')
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', ca],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
    ],
    { stdio: 'ignore' },
  )
  const expected = `Basic ${Buffer.from('millrace:a-secret').toString('base64')}`
  // Who stands before a registry in production does no more.
  const front = createServer({ key: readFileSync(key), cert: readFileSync(ca) }, (asked, answer) => {
    if (asked.headers.authorization !== expected) {
      answer.writeHead(401, { 'content-type': 'application/json' })
      answer.end('{"error_code":401,"message":"Unauthorized"}')
      return
    }
    const { method, headers, url } = asked
    const onward = request({ port: registry.httpPort, method, path: url, headers }, (response) => {
      answer.writeHead(response.statusCode!, response.headers)
      response.pipe(answer)
    })
    onward.on('error', () => answer.destroy())
    asked.pipe(onward)
  })
  await new Promise<void>((resolve) => front.listen(0, 'localhost', resolve))
  t.after(() => {
    front.closeAllConnections()
    front.close()
  })
  const url = `https://localhost:${(front.address() as AddressInfo).port}/schema-registry`
  const user = ['--schema-registry', url, '--schema-registry-username', 'millrace']
  const trusting = [...NO_STREAMS, ...user, '--schema-registry-ca', ca]
  const known = { MILLRACE_SCHEMA_REGISTRY_PASSWORD: 'a-secret' }
  const millrace = await startProcess(path.join(folder, 'data'), trusting, known)
  t.after(() => millrace.kill())
  assert.equal((await registerContract(millrace.http, contractOf('pump', 'long'))).status, 201)
  const subject = `${registry.http}/schema-registry/subjects/default.pump-value/versions/latest`
  const there = (await (await fetch(subject)).json()) as { id: number }
  const here = (await (await fetch(`${millrace.http}/v1/streams/default/pump`)).json()) as {
    schemaId: number
  }
  assert.equal(here.schemaId, there.id)
  await millrace.stop()
  for (const [args, password, reason] of [
    [[...NO_STREAMS, ...user], 'a-secret', /certificate/],
    [trusting, 'wrong', /401: Unauthorized/],
  ] as const) {
    const { code, stderr } = await runMillrace(
      [
        ...['up', '--data', temporaryFolder(t), '--http', '127.0.0.1:0', ...args],
        ...['--schema-registry-unknown', 'refuse'],
      ],
      { MILLRACE_SCHEMA_REGISTRY_PASSWORD: password },
    )
    assert.ok(code !== null && code !== 0)
    assert.match(stderr, reason)
  }
})
