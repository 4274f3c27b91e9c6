// Options: which of flag, variable, file and default counts, what is refused and in which words, and that no secret is
// shown.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { configOf, mergeOptions } from './config.ts'
import { isMillraceError } from './std/errors.ts'
import { millrace } from './test/millrace-process.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-config-'))
test.after(() => fs.rmSync(folder, { recursive: true }))

function read(flags: Record<string, string>, environment: Record<string, string> = {}) {
  return configOf(mergeOptions(flags, environment), environment)
}

function refused(flags: Record<string, string>, message: RegExp, environment: Record<string, string> = {}) {
  assert.throws(
    () => read(flags, environment),
    (error) => isMillraceError(error, 'option_invalid') && message.test(error.message),
  )
}

const fileOf = (yaml: string): string => {
  const file = path.join(folder, 'options.yaml')
  fs.writeFileSync(file, yaml)
  return file
}

test('flag before variable before file before default, each with its origin', () => {
  const config = fileOf(
    'workers: 2\nsink: { commit_age_ms: 4_000, encoders: 3 }\nmqtt_receive_maximum: 7\nroles: [ingest, sink]\n',
  )
  const variables = { MILLRACE_WORKERS: '3', MILLRACE_SINK_ENCODERS: '4', MILLRACE_HTTP: ':9' }
  const merged = mergeOptions({ config, workers: '5' }, variables)
  const of = (wanted: string) => {
    const { value, origin } = merged.find(({ name }) => name === wanted)!
    return [value, origin]
  }
  assert.deepEqual(of('workers'), [5, 'flag'])
  assert.deepEqual(of('sink-encoders'), [4, 'variable'])
  assert.deepEqual(of('http'), [{ host: '127.0.0.1', port: 9 }, 'variable'])
  assert.deepEqual(of('sink-commit-age-ms'), [4000, 'file'])
  assert.deepEqual(of('mqtt-receive-maximum'), [7, 'file'])
  assert.deepEqual(of('roles'), [['ingest', 'sink'], 'file'])
  assert.deepEqual(of('mqtt'), [{ host: '127.0.0.1', port: 1883 }, 'default'])
  // The file may be named by a variable, too.
  assert.equal(read({}, { MILLRACE_CONFIG: config }).workers, 2)
})

const wrong: [flags: Record<string, string>, message: RegExp][] = [
  [{ workers: '0' }, /^--workers: read "0", expected a whole number from 1 to 64$/],
  [{ workers: '1.5' }, /^--workers: read "1\.5", expected a whole number/],
  [
    { 'sink-commit-age-ms': '-5' },
    /read "-5", expected a whole number from 100 to 3600000 \(milliseconds\)$/,
  ],
  [{ mqtt: 'here' }, /^--mqtt: read "here", expected HOST:PORT with a port from 0 to 65535, or off$/],
  [{ http: 'off' }, /^--http: read "off", expected HOST:PORT with a port from 0 to 65535$/],
  [{ http: '1.2.3.4:65536' }, /^--http: read "1\.2\.3\.4:65536", expected HOST:PORT/],
  [{ roles: 'sink,sink' }, /^--roles: read "sink,sink", expected a list of ingest, normalize, sink/],
  [{ 'log-level': 'loud' }, /^--log-level: read "loud", expected one of debug, info, warn, error, silent$/],
  [{ data: '' }, /^--data: read "", expected a path$/],
]
for (const [flags, message] of wrong)
  test(`refused with name, what was read and what is allowed: ${Object.entries(flags).join(' ')}`, () =>
    refused(flags, message))

const wrongFiles: [yaml: string, code: string, message: RegExp][] = [
  [
    'sink:\n  commit_age_ms: abc\n',
    'option_invalid',
    /:2:18: sink\.commit_age_ms: read "abc", expected a whole/,
  ],
  [
    'snk:\n  commit_age_ms: 3\n',
    'option_unknown',
    /:2:18: snk\.commit_age_ms: no such option; the nearest is sink-/,
  ],
  ['workers: [a\n', 'config_unreadable', /options\.yaml:\d+:\d+: [^\n]*[^:\n]$/],
  ['workers: 2\nworkers: 3\n', 'config_unreadable', /options\.yaml:2:1: Map keys must be unique$/],
  ['- a\n', 'config_unreadable', /options\.yaml:1:1: expected a mapping of options$/],
]
for (const [yaml, code, message] of wrongFiles)
  test(`refused with line and column: ${yaml.trim().replaceAll('\n', ' ⏎ ')}`, () => {
    const config = fileOf(yaml)
    assert.throws(() => read({ config }), { code, message, exitCode: 2 })
  })

test('no configuration file, and an empty one', () => {
  assert.throws(() => read({ config: '/nowhere.yaml' }), { code: 'config_unreadable', exitCode: 2 })
  assert.equal(read({ config: fileOf('') }).workers, 1)
})

test('a warehouse is a folder, a place in S3, or a name of the REST catalog', () => {
  assert.equal(read({ data: '/d' }).warehouse, '/d/warehouse')
  assert.equal(read({ data: '/d', warehouse: '/w' }).warehouse, '/w')
  assert.equal(read({ warehouse: 'w' }).warehouse, path.resolve('w'))
  assert.equal(read({ warehouse: 's3://bucket/a b/' }).warehouse, 's3://bucket/a b')
  const catalog = 'http://127.0.0.1:8181/api'
  assert.equal(read({ catalog }).warehouse, undefined)
  assert.equal(read({ catalog, warehouse: 'lake' }).warehouse, 'lake')
  for (const warehouse of ['gs://bucket/x', 's3://', 's3:///x', 's3://Bucket_/x', ''])
    refused({ warehouse }, /^--warehouse: read ".*", expected a folder, s3:\/\/BUCKET\/PREFIX/)
  for (const text of ['postgres', 'http://', 'http://user:pass@host', 'http://host?x=1'])
    refused({ catalog: text }, /^--catalog: read ".*", expected sqlite, sqlite:FILE, or the address/)
})

test('requests to S3 name the bucket in the path where a server of its own is named', () => {
  const endpoint = { AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' }
  assert.equal(read({}).s3PathStyle, false)
  assert.equal(read({}, endpoint).s3PathStyle, true)
  assert.equal(read({ 's3-path-style': 'off' }, endpoint).s3PathStyle, false)
  assert.equal(read({ 's3-path-style': 'on' }).s3PathStyle, true)
})

test('secrets come by variable or file, never as a flag, and one at a time', () => {
  const file = path.join(folder, 'secret')
  fs.writeFileSync(file, 'client:of-the-file\n')
  const variable = { MILLRACE_CATALOG_CREDENTIAL: 'client:of-the-variable' }
  assert.equal(read({}, variable).catalogCredential, 'client:of-the-variable')
  assert.equal(read({ 'catalog-credential-file': file }).catalogCredential, 'client:of-the-file')
  assert.equal(read({ 'catalog-token-file': file }).catalogToken, 'client:of-the-file')
  refused(
    { 'catalog-credential': 'x' },
    /seen by every process .* MILLRACE_CATALOG_CREDENTIAL, or in a file with --catalog-credential-file/,
  )
  refused({ 'catalog-credential-file': file }, /both given/, variable)
  refused({}, /both given/, { ...variable, MILLRACE_CATALOG_TOKEN: 'x' })
  refused({}, /MILLRACE_CATALOG_TOKEN: expected/, { MILLRACE_CATALOG_TOKEN: ' ' })
  refused({ 'catalog-token-file': path.join(folder, 'none') }, /--catalog-token-file: ENOENT.*none/)
})

test('`millrace config` shows that there is a secret, not which', async () => {
  const file = path.join(folder, 'millrace.yaml')
  fs.writeFileSync(file, 'catalog_credential: "client:hush-hush"\n')
  const env = { MILLRACE_CATALOG_TOKEN: 'hush-token' }
  for (const args of [[], ['--json']]) {
    const { code, stdout, stderr } = await millrace(['config', '--config', file, ...args], env)
    assert.equal(code, 0, stderr)
    assert.doesNotMatch(stdout + stderr, /hush/)
    assert.equal(stdout.match(/\(secret\)/g)?.length, 2)
  }
})
