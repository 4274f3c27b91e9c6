// Options of catalog and warehouse: what is taken, what is refused, and that no secret is shown.
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
