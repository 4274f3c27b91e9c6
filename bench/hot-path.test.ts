// The case at its smoke size, so that it cannot rot.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import type { CaseResult } from './harness.ts'

test('hot-path prints one line of JSON with its peer and what was verified', () => {
  const file = path.join(import.meta.dirname, 'hot-path.ts')
  const text = execFileSync(process.execPath, [file, '--smoke', '--json', '--seed', '3'], {
    encoding: 'utf8',
  })
  const lines = text.trim().split('\n')
  assert.equal(lines.length, 1)
  const result = JSON.parse(lines[0]!) as CaseResult
  assert.equal(result.case, 'hot-path')
  assert.equal(result.unit, 'msg/s')
  assert.equal(result.seed, 3)
  assert.match(result.verified, /payloads by hash and batch CRC/)
  assert.ok(result.min <= result.median && result.median <= result.max && result.min > 0)
  const [peer] = result.peers
  assert.equal(peer!.name, 'mqtt-packet+avsc')
  assert.ok(peer!.ratio > 1)
})
