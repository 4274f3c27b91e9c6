// docs/contracts.md is held to what it says: its examples parse, its refusals are the ones that come.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { checkContractText, compileContract, formatProblem, parseContract } from './contract.ts'
import { WORD_TYPES } from './contract-fields.ts'
import { SchemaRegistry } from './registry.ts'
import { registerStreams } from './registry-streams.ts'
import { compileRules } from './rules-compile.ts'

const page = fs.readFileSync(path.join(import.meta.dirname, '..', 'docs', 'contracts.md'), 'utf8')
const blocks = [...page.matchAll(/```([a-z ]+)\n(.*?)```/gs)].map(([, kind, text]) => ({
  kind: kind!,
  text: text!,
}))

test('the examples parse, compile, run and register', async () => {
  const examples = blocks.filter(({ kind }) => kind === 'yaml')
  assert.ok(examples.length > 0)
  for (const { text } of examples) {
    const streams = compileContract(parseContract(text, 'pump.yaml'))
    const placed = streams.map((stream) => ({ ...stream, partitions: stream.partitions ?? 1 }))
    await registerStreams(await SchemaRegistry.open(new MemoryLog()), placed)
    const rules = compileRules(streams[0]!)
    const record = {
      event_time: 1_700_000_000_000_000,
      mode: 'eco',
      flow: -0.1,
      head: 1500,
      power: null,
      motor: { rpm: 100, temperature: 212 },
    }
    assert.equal(rules.select('2.1').apply(record), undefined)
    assert.deepEqual([record.motor.temperature, record.head, record.flow], [100, 1.5, 0])
    assert.equal(rules.select('1.0').apply(record), undefined)
    assert.equal(record.power, 35)
    assert.equal(rules.select('1.0').apply({ ...record, event_time: 0 })?.reason, 'clock was never set')
    assert.ok(rules.select('3.0').isIdentity)
  }
})

test('what is refused is refused in these words', () => {
  const refused = blocks.filter(({ kind }) => kind === 'yaml refused')
  const told = blocks.filter(({ kind }) => kind === 'text')
  assert.equal(refused.length, told.length)
  refused.forEach(({ text }, i) => {
    const { problems } = checkContractText(text, 'pump.yaml')
    assert.equal(`${problems.map(formatProblem).join('\n')}\n`, told[i]!.text)
  })
})

test('the table of types names them all', () => {
  for (const word of Object.keys(WORD_TYPES)) assert.ok(page.includes(`\`${word}\``), word)
})

test('the table of evolution says what the registry does', async () => {
  const schema = (fields: string): string =>
    compileContract(
      parseContract(`{ millrace: 1, family: p, version: 1, streams: { s: { fields: [${fields}] } } }`, 'p'),
    )[0]!.schema
  const follows = async (before: string, now: string): Promise<boolean> => {
    const registry = await SchemaRegistry.open(new MemoryLog())
    await registry.register('default.s-value', schema(before))
    return registry.incompatibilities('default.s-value', schema(now)).length === 0
  }
  const a = '{ name: a, type: int }'
  const cases: [string, string, boolean][] = [
    [a, `${a}, { name: b, type: int, nullable: true }`, true],
    [a, `${a}, { name: b, type: int, default: 1 }`, true],
    [a, `${a}, { name: b, type: int }`, false],
    [`${a}, { name: b, type: int }`, a, true],
    [a, '{ name: z, type: int, aliases: [a] }', true],
    [
      '{ name: a, type: record, fields: [{ name: x, type: enum, symbols: [u] }] }',
      '{ name: z, aliases: [a], type: record, fields: [{ name: string, aliases: [x], type: enum, symbols: [u] }] }',
      true,
    ],
    [a, '{ name: a, type: long }', true],
    ['{ name: a, type: float }', '{ name: a, type: double }', true],
    [a, '{ name: a, type: int, nullable: true }', true],
    ['{ name: a, type: int, nullable: true }', a, false],
    ['{ name: a, type: long }', a, false],
    [a, '{ name: a, type: string }', false],
    ['{ name: a, type: enum, symbols: [x, y] }', '{ name: a, type: enum, symbols: [x] }', false],
    ['{ name: a, type: enum, symbols: [x] }', '{ name: a, type: enum, symbols: [x, y] }', true],
    ['{ name: a, type: int, unit: m, range: [0, 1], doc: old }', a, true],
  ]
  for (const [before, now, expected] of cases)
    assert.equal(await follows(before, now), expected, `${before} → ${now}`)
})
