// The HTTP server of a running process: metrics that Prometheus can read, a document that describes every route, and
// answers to what is wrong.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type MillraceProcess, startProcess } from './millrace-process.ts'

interface Operation {
  summary?: string
  requestBody?: unknown
  parameters?: { name: string; in: string }[]
  responses: Record<string, unknown>
}

/** What is asked of these stands in path and query. */
const BODILESS = ['POST /v1/streams/{tenant}/{stream}/replay-rejected']

/** Text format 0.0.4: every sample belongs to the family whose HELP and TYPE came just before it. */
function parseMetrics(page: string): Map<string, { type: string; samples: Map<string, number> }> {
  const families = new Map<string, { type: string; samples: Map<string, number> }>()
  let name = ''
  let helped = ''
  assert.ok(page.endsWith('\n'))
  for (const line of page.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-z_][a-z0-9_]*) \S.*$/.exec(line)
    const type = /^# TYPE ([a-z_][a-z0-9_]*) (counter|gauge|histogram)$/.exec(line)
    const sample = /^([a-z_][a-z0-9_]*)((?:\{(?:[a-z_][a-z0-9_]*="[^"\\\n]*",?)+\})?) (\S+)$/.exec(line)
    if (help) helped = help[1]!
    else if (type) {
      name = type[1]!
      assert.equal(name, helped, 'HELP and TYPE of one family')
      assert.ok(!families.has(name), `${name} once`)
      families.set(name, { type: type[2]!, samples: new Map() })
    } else if (sample) {
      const family = families.get(name)!
      const [, own, labels, value] = sample
      const suffixes = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
      assert.ok(
        suffixes.some((suffix) => own === name + suffix),
        `${own} under ${name}`,
      )
      assert.ok(Number.isFinite(Number(value)), line)
      assert.ok(!family.samples.has(own! + labels!), `${line}: once`)
      family.samples.set(own! + labels!, Number(value))
    } else assert.fail(`neither comment nor sample: ${line}`)
  }
  return families
}

describe('HTTP', () => {
  let running: MillraceProcess
  const data = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-http-'))

  before(async () => {
    running = await startProcess(data)
  })
  after(async () => {
    await running.stop()
    fs.rmSync(data, { recursive: true, force: true })
  })

  const call = async (method: string, path: string, body?: string, type = 'application/json') => {
    const response = await fetch(running.http + path, {
      method,
      ...(body === undefined ? {} : { body, headers: { 'content-type': type } }),
    })
    return {
      status: response.status,
      type: response.headers.get('content-type'),
      text: await response.text(),
    }
  }

  test('the tables of the shipped contracts are there when it says that it is ready', async () => {
    const tables = JSON.parse((await call('GET', '/v1/tables')).text) as { tenant: string; table: string }[]
    assert.deepEqual(
      tables.map(({ tenant, table }) => `${tenant}.${table}`).sort(),
      ['machine', 'machine_rejected', 'telemetry', 'telemetry_rejected'].map((name) => `default.${name}`),
    )
  })

  test('/metrics is what Prometheus reads', async () => {
    const { status, type, text } = await call('GET', '/metrics')
    assert.equal(status, 200)
    assert.equal(type, 'text/plain; version=0.0.4; charset=utf-8')
    const families = parseMetrics(text)
    for (const [name, { type, samples }] of families) {
      assert.match(name, /^millrace_/)
      assert.ok(samples.size > 0, name)
      assert.equal(name.endsWith('_total'), type === 'counter', name)
      if (type !== 'histogram') continue
      const buckets = [...samples].filter(([key]) => key.includes('_bucket'))
      assert.match(buckets.at(-1)![0], /le="\+Inf"/)
      assert.equal(buckets.at(-1)![1], samples.get(`${name}_count`))
      const counts = buckets.map(([, value]) => value)
      assert.deepEqual(
        counts,
        [...counts].sort((a, b) => a - b),
        name,
      )
    }
    assert.equal(families.get('millrace_ready')!.samples.get('millrace_ready'), 1)
    for (const stage of ['ingest', 'normalize', 'sink', 'log'])
      assert.ok([...families.keys()].some((name) => name.startsWith(`millrace_${stage}_`)))
  })

  test('the OpenAPI document describes every route', async () => {
    const document = JSON.parse((await call('GET', '/v1/openapi.json')).text) as {
      openapi: string
      paths: Record<string, Record<string, Operation>>
    }
    assert.equal(document.openapi, '3.1.0')
    const routes: string[] = []
    for (const [path, methods] of Object.entries(document.paths))
      for (const [method, operation] of Object.entries(methods)) {
        const route = `${method.toUpperCase()} ${path}`
        routes.push(route)
        assert.ok(operation.summary, `${route} has a summary`)
        assert.ok(Object.keys(operation.responses).length > 0, route)
        const takesBody = method === 'put' || (method === 'post' && !BODILESS.includes(route))
        assert.equal(takesBody, operation.requestBody !== undefined, route)
        const named = (operation.parameters ?? []).filter((one) => one.in === 'path').map((one) => one.name)
        assert.deepEqual([...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort(), named.sort(), route)
      }
    for (const route of ['GET /metrics', 'GET /readyz', 'POST /v1/contracts', 'PUT /schema-registry/config'])
      assert.ok(routes.includes(route), route)
  })

  test('what is wrong gets a code and a sentence', async () => {
    const refused = async (answer: ReturnType<typeof call>, status: number, code: string) => {
      const { status: got, text } = await answer
      const body = JSON.parse(text) as { code: string; message: string }
      assert.deepEqual([got, body.code], [status, code], text)
      return body.message
    }
    await refused(call('GET', '/nowhere'), 404, 'not_found')
    await refused(call('DELETE', '/v1/streams'), 404, 'not_found')
    await refused(call('GET', '/v1/streams/default/nothing'), 404, 'stream_unknown')
    await refused(call('POST', '/v1/contracts', '{}'), 415, 'request_invalid')
    const replay = '/v1/streams/default/telemetry/replay-rejected'
    for (const [limit, problem] of [
      ['abc', /limit must be integer/],
      ['0', /limit must be >= 1/],
      ['1', undefined],
    ] as const) {
      const answer = call('POST', `${replay}?limit=${limit}`)
      if (problem === undefined) assert.equal((await answer).status, 200)
      else assert.match(await refused(answer, 400, 'request_invalid'), problem)
    }
    await refused(call('POST', '/v1/contracts', '{'), 400, 'request_invalid')
    const contract =
      'millrace: 1\nfamily: f\nversion: 1\nstreams:\n  s:\n    fields:\n      - { name: a, type: duble }\n'
    const message = await refused(
      call('POST', '/v1/contracts', contract, 'application/yaml'),
      422,
      'contract_invalid',
    )
    assert.match(message, /^contract:7:\d+: .*duble/)
  })
})
