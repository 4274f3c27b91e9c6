import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import avsc from 'avsc'
import fc from 'fast-check'
import { isMillraceError } from '../std/errors.ts'
import {
  checkContractText,
  compileContract,
  compileContracts,
  describeContract,
  parseContract,
} from './contract.ts'

const CONTRACTS = path.join(import.meta.dirname, '..', 'contracts')
const shipped = (name: string): string => fs.readFileSync(path.join(CONTRACTS, name), 'utf8')

/** A contract around the YAML of one stream's body. */
const withStream = (body: string): string =>
  `millrace: 1\nfamily: pump\nversion: 1\nstreams:\n  flow:\n${body.replace(/^/gm, '    ')}\n`
const withFields = (...fields: string[]): string =>
  withStream(`fields:\n${fields.map((field) => `  - ${field}`).join('\n')}`)

/** `line:column path: message` of each problem. */
const problemsOf = (text: string): string[] =>
  checkContractText(text, 'pump.yaml').problems.map(
    (one) => `${one.line}:${one.column} ${one.path}: ${one.message}`,
  )

describe('shipped contracts', () => {
  test('environment has exactly the fields that devices and tables rely on', () => {
    const [stream, ...more] = compileContract(parseContract(shipped('environment.yaml'), 'environment.yaml'))
    assert.equal(more.length, 0)
    assert.equal(stream!.subject, 'default.telemetry-value')
    const { fields } = JSON.parse(stream!.schema) as {
      fields: { name: string; type: unknown; default?: unknown }[]
    }
    assert.deepEqual(
      fields.map(({ name, type }) => [name, type]),
      [
        ['event_time', { type: 'long', logicalType: 'timestamp-micros' }],
        ['seq', 'long'],
        ['temperature', 'double'],
        ['humidity', 'double'],
        ['pressure', ['null', 'double']],
        ['air_quality', ['null', 'double']],
        [
          'occupancy',
          {
            type: 'enum',
            name: 'occupancy',
            namespace: 'default.environment.telemetry',
            symbols: ['unknown', 'vacant', 'occupied'],
          },
        ],
        ['firmware', 'string'],
        ['battery', 'double'],
      ],
    )
    assert.equal(fields[4]!.default, null)
    assert.deepEqual(
      stream!.fields.map((field) => field.role).filter((role) => role !== undefined),
      ['event_time', 'sequence', 'firmware'],
    )
    assert.ok(stream!.fields.every((field) => field.enforce !== 'refuse'))
  })

  test('machine compiles to Avro that avsc takes, every kind of type in it', () => {
    const [stream] = compileContract(parseContract(shipped('machine.yaml'), 'machine.yaml'))
    avsc.Type.forSchema(JSON.parse(stream!.schema))
    for (const kind of [
      'record',
      'array',
      'map',
      'null',
      'decimal',
      'uuid',
      'timestamp-millis',
      'timestamp-micros',
    ])
      assert.ok(stream!.schema.includes(`"${kind}"`), kind)
    for (const kind of ['date', 'bytes', 'fixed', 'enum'])
      assert.ok(stream!.schema.includes(`"${kind}"`), kind)
    assert.deepEqual(stream!.table, { bucketDevices: 16 })
    const [description] = describeContract(parseContract(shipped('machine.yaml'), 'machine.yaml'))
    assert.ok(description!.fields.some((field) => field.path === 'tools{}.wear' && field.nullable))
    assert.equal(description!.columns[0]!.name, 'device_id')
  })

  test('a stream belongs to one contract', () => {
    const environment = parseContract(shipped('environment.yaml'), 'environment.yaml')
    const machine = parseContract(shipped('machine.yaml'), 'machine.yaml')
    assert.equal(compileContracts([environment, machine]).length, 2)
    assert.throws(
      () => compileContracts([environment, { ...environment, file: 'copy.yaml' }]),
      (error) =>
        isMillraceError(error, 'contract_invalid') && /telemetry.*environment\.yaml/.test(error.message),
    )
  })
})

describe('what a contract may not say', () => {
  const cases: [string, string, RegExp][] = [
    ['not YAML', 'millrace: 1\n  family: [', /^\d+:\d+ : not YAML/],
    [
      'unknown key',
      withStream('fieldz: []'),
      /^6:5 streams\.flow\.fieldz: unknown key; allowed here: doc, fields/,
    ],
    [
      'format of the future',
      'millrace: 2\nfamily: pump\nversion: 1\nstreams: {}',
      /^1:11 millrace: must be a whole number from 1 to 1/,
    ],
    [
      'a section of a later release',
      `${withFields('{ name: a, type: int }')}commands: {}\n`,
      /^8:11 commands: 'commands' is not supported/,
    ],
    [
      'reserved tenant',
      `tenant: millrace\n${withFields('{ name: a, type: int }')}`,
      /^1:9 tenant: 'millrace' is no name/,
    ],
    [
      'unknown type',
      withFields('{ name: a, type: integer }'),
      /^7:26 .*fields\[0\]\.type: unknown type 'integer'; allowed: boolean, int/,
    ],
    [
      'lineage column',
      withFields('{ name: _Offset, type: int }'),
      /'_Offset' is a column that Millrace adds/,
    ],
    [
      'device_id',
      withFields('{ name: Device_ID, type: string }'),
      /'Device_ID' is a column that Millrace adds/,
    ],
    ['no field name', withFields('{ name: __proto__, type: int }'), /'__proto__' is no field name/],
    [
      'same name twice',
      withFields('{ name: a, type: int }', '{ name: A, type: int }'),
      /^8:9 .*field 'A' is there twice \('a' differs in case only\)/,
    ],
    ['a union', withFields('{ name: a, type: [int, string] }'), /the union \[int, string\] is not allowed/],
    [
      'a union of three',
      withFields("{ name: a, type: ['null', int, string] }"),
      /a table column holds one type/,
    ],
    [
      'nullable event time',
      withFields('{ name: a, type: timestamp-micros, role: event_time, nullable: true }'),
      /cannot be nullable/,
    ],
    [
      'role twice',
      withFields('{ name: a, type: long, role: sequence }', '{ name: b, type: long, role: sequence }'),
      /role sequence is taken by field 'a'/,
    ],
    [
      'role of another type',
      withFields('{ name: a, type: double, role: sequence }'),
      /role sequence needs type long or int/,
    ],
    ['range of text', withFields('{ name: a, type: string, range: [0, 1] }'), /a range belongs to a number/],
    ['range upside down', withFields('{ name: a, type: int, range: [1, 0] }'), /min 1 is above max 0/],
    [
      'enforce without range',
      withFields('{ name: a, type: int, enforce: refuse }'),
      /enforce says what happens outside a range/,
    ],
    [
      'range in a nested field',
      withFields('{ name: a, type: record, fields: [{ name: b, type: int, range: [0, 1] }] }'),
      /range: unknown key/,
    ],
    ['decimal too wide', withFields("{ name: a, type: 'decimal(39,0)' }"), /precision must be 1 to 38/],
    ['enum without symbols', withFields('{ name: a, type: enum }'), /type enum needs symbols/],
    [
      'symbols elsewhere',
      withFields('{ name: a, type: int, symbols: [x] }'),
      /belongs to type enum, this is int/,
    ],
    [
      'default of another type',
      withFields('{ name: a, type: int, default: x }'),
      /the default must be a 32-bit integer, is "x"/,
    ],
    [
      'default of a nullable',
      withFields('{ name: a, type: int, nullable: true, default: 1 }'),
      /default of a nullable field is null/,
    ],
    [
      'alias',
      withStream('fields: &f\n  - { name: a, type: int }\nrules: *f'),
      /aliases \(\*name\) are not allowed/,
    ],
    ['no fields', withStream('fields: []'), /needs at least one field/],
    [
      'partitions',
      withStream('fields: [{ name: a, type: int }]\npartitions: 0'),
      /whole number from 1 to 1024/,
    ],
    [
      'duration',
      withStream('fields: [{ name: a, type: int }]\nplausible: { past: 10 years }'),
      /no duration/,
    ],
  ]
  for (const [what, text, expected] of cases)
    test(what, () => {
      const problems = problemsOf(text)
      assert.ok(
        problems.some((problem) => expected.test(problem)),
        problems.join('\n'),
      )
    })

  test('what the Avro modules have no room for', () => {
    let deep = '{ name: a, type: int }'
    for (let i = 0; i < 30; i++) deep = `{ name: a, type: record, fields: [${deep}] }`
    assert.match(problemsOf(withFields(deep))[0]!, /is nested deeper than 24 levels/)
    const wide = `fields: [${'{ name: x, type: int }, '.repeat(2001)}]`
    assert.ok(problemsOf(withStream(wide)).some((problem) => /at most 2000 are allowed/.test(problem)))
    const many = Array.from({ length: 9 }, (_, i) => {
      const leaves = Array.from({ length: 500 }, (_, j) => `{ name: f${j}, type: int }`).join(', ')
      return `{ name: r${i}, type: record, fields: [${leaves}] }`
    })
    assert.match(problemsOf(withFields(...many))[0]!, /^7:7 streams\.flow\.fields: .*more than 4096 types/)
  })

  test('all problems are told at once, in the order of the document, and in the error', () => {
    const text = withFields('{ name: 1a, type: int }', '{ name: b, type: what }', '{ name: c }')
    assert.equal(problemsOf(text).length, 3)
    assert.throws(
      () => parseContract(text, 'pump.yaml'),
      (error) =>
        isMillraceError(error, 'contract_invalid') &&
        /^pump\.yaml:7:17: .*\npump\.yaml:8:26: .*\npump\.yaml:9:9: /.test(error.message),
    )
  })

  test('any text at all fails only with problems', () => {
    const words = fc.constantFrom(
      'millrace: 1\n',
      'streams:\n',
      '  a:\n',
      '    fields:\n',
      '      - name: x\n',
      '        type: [int, 1]\n',
      'family: f\n',
      '- ',
      '{',
      '}',
      ': ',
      '? ',
      '!!map ',
      '\t',
      '*a',
      '&a ',
      'null',
      '"',
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(words).map((parts) => parts.join('')),
        ),
        (text) => {
          const { ok, problems } = checkContractText(text, 'x')
          assert.equal(ok, problems.length === 0)
        },
      ),
      { numRuns: 1000 },
    )
  })
})

describe('rules', () => {
  const rules = (steps: string, firmware = 'default'): string =>
    withStream(
      `fields:\n  - { name: t, type: double, unit: °C }\n  - { name: p, type: double, nullable: true }\n  - { name: n, type: long }\n  - { name: fw, type: string, role: firmware }\nrules:\n  - firmware: '${firmware}'\n    steps:\n      - ${steps}`,
    )
  const cases: [string, string, RegExp][] = [
    [
      'CEL that does not parse, to the column',
      rules('{ set: t, value: t + + 1.0 }'),
      /^14:3[0-9] .*steps\[0\]\.value: /,
    ],
    ['unknown field', rules("{ set: t, value: 'tt + 1.0' }"), /^14:31 .*value: there is no field 'tt'/],
    [
      'int where double is needed',
      rules('{ set: t, value: t * 2 }'),
      /^14:32 .*\* has no form for double and int: write the number with a decimal point/,
    ],
    ['wrong result', rules('{ set: n, value: t }'), /^14:30 .*gives double, but the field is long/],
    ['null where none may be', rules('{ set: t, value: p }'), /may be null, but the field cannot/],
    ['condition', rules('{ set: t, value: t, when: t }'), /^14:39 .*when: a condition must be bool/],
    ['no such target', rules('{ set: zz, value: t }'), /there is no field 'zz' to set/],
    [
      'two kinds',
      rules('{ set: t, value: t, refuse: x }'),
      /exactly one of set, convert, scale, default, refuse/,
    ],
    ['unknown unit', rules('{ convert: t, from: hPa }'), /cannot convert 'hPa' to '°C'; known: °C, K, °F/],
    ['scale of a long', rules('{ scale: n, factor: 2 }'), /scale needs a field of type double or float/],
    ['default of what is never null', rules('{ default: t, value: 0.0 }'), /field 't' is never null/],
    ['refuse always', rules('{ refuse: why }'), /a refuse step needs when/],
    ['range', rules('{ set: t, value: t }', '>=two'), /'>=two' is no comparator/],
    ['key of another step', rules('{ set: t, value: t, from: K }'), /does not belong to a set step/],
  ]
  for (const [what, text, expected] of cases)
    test(what, () => {
      const problems = problemsOf(text)
      assert.ok(
        problems.some((problem) => expected.test(problem)),
        problems.join('\n'),
      )
    })

  test('short forms become set', () => {
    const contract = parseContract(
      rules(
        '{ convert: t, from: °F }\n      - { scale: p, factor: 0.1, offset: -4 }\n      - { default: p, value: 0 }\n      - { set: p, value: null }',
      ),
      'pump.yaml',
    )
    assert.deepEqual(contract.streams[0]!.ruleSets[0]!.rules, [
      { set: { field: 't', value: '(t - 32.0) * 5.0 / 9.0' } },
      { when: 'p != null', set: { field: 'p', value: 'p * double(0.1) + double(-4)' } },
      { when: 'p == null', set: { field: 'p', value: '0' } },
      { set: { field: 'p', value: 'null' } },
    ])
  })
})
