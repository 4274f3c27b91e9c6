import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { FirmwareChooser, type FirmwareRange, parseFirmware, parseFirmwareRange } from './firmware.ts'

function range(text: string): FirmwareRange {
  const parsed = parseFirmwareRange(text)
  assert.ok(typeof parsed !== 'string', String(parsed))
  return parsed
}

describe('firmware versions', () => {
  test('are read with tolerance', () => {
    const cases: [string, number[] | undefined, string][] = [
      ['2.1.0', [2, 1, 0], ''],
      ['v2', [2], ''],
      ['FW 2.10.0.4', [2, 10, 0, 4], ''],
      ['rev-3', [3], ''],
      ['2.0.0-rc.1+build5', [2, 0, 0], 'rc.1'],
      ['2.1 (factory)', [2, 1], ''],
      ['unknown', undefined, ''],
      ['', undefined, ''],
      ['abc123', undefined, ''],
      ['-1', undefined, ''],
    ]
    for (const [text, parts, tag] of cases) {
      const version = parseFirmware(text)
      assert.deepEqual(version?.parts, parts, text)
      if (version !== undefined) assert.equal(version.tag, tag, text)
    }
  })

  test('match ranges as far as a bound states parts', () => {
    const cases: [string, string[], string[]][] = [
      ['>=2.0 <3', ['2.0', '2', '2.9.9', '2.0.0-rc1'], ['1.9.9', '3.0.0', '3.0.0-rc1']],
      ['2.x', ['2.0', '2.5.1'], ['1.9', '3']],
      ['2', ['2.5.1'], ['20.1']],
      ['=2.1', ['2.1', '2.1.7'], ['2.2', '2.0']],
      ['>2.1', ['2.2', '3'], ['2.1.7', '2.1']],
      ['<=2.1', ['2.1.7', '1'], ['2.2']],
      ['^1.2', ['1.2.0', '1.9'], ['1.1', '2.0']],
      ['^0.3.1', ['0.3.5'], ['0.4.0', '0.3.0']],
      ['~1.2.3', ['1.2.3', '1.2.9'], ['1.3.0', '1.2.2']],
      ['<1 || >= 3', ['0.9', '3.0'], ['1.0', '2.9']],
      [
        '>=2.0.0-rc.2',
        ['2.0.0-rc.2', '2.0.0-rc.10', '2.0.0-rc.2.1', '2.0.0'],
        ['1.9', '2.0.0-rc.1', '2.0.0-rc', '2.0.0-beta'],
      ],
    ]
    for (const [text, inside, outside] of cases) {
      for (const version of inside)
        assert.ok(range(text).matches(parseFirmware(version)!), `${version} in ${text}`)
      for (const version of outside)
        assert.ok(!range(text).matches(parseFirmware(version)!), `${version} not in ${text}`)
    }
  })

  test('order like their numbers', () => {
    const parts = fc.array(fc.nat(20), { minLength: 3, maxLength: 3 })
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const order = a[0]! - b[0]! || a[1]! - b[1]! || a[2]! - b[2]!
        const version = parseFirmware(a.join('.'))!
        assert.equal(range(`<${b.join('.')}`).matches(version), order < 0)
        assert.equal(range(`>=${b.join('.')}`).matches(version), order >= 0)
      }),
    )
  })

  test('what is no range says so', () => {
    for (const text of ['', '>=', 'two', '1 ||', '1.2.', '>=1 and <2'])
      assert.equal(typeof parseFirmwareRange(text), 'string', text)
  })

  test('unmatched and unreadable take the fallback, whatever devices send', () => {
    const chooser = new FirmwareChooser([range('1.x'), undefined, range('>=1.5')], 1)
    assert.deepEqual(
      ['1.0', '1.7', '2.0', '0.1', 'beta', '', null, undefined].map((one) => chooser.choose(one)),
      [0, 0, 2, 1, 1, 1, 1, 1],
    )
    fc.assert(fc.property(fc.string(), (text) => [0, 1, 2].includes(chooser.choose(text))))
    for (let i = 0; i < 10_000; i++) chooser.choose(`9.${i}`)
    assert.equal(chooser.choose('1.0'), 0)
  })
})
