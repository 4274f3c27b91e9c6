import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ZeroRule } from './journal-zeros.ts'

const KIB = 1 << 10
const COMMITS = 100

/** A rule after segments of a hundred commits each, of which those were filled that it wanted filled. */
class Segments {
  readonly rule = new ZeroRule()
  readonly filled: boolean[] = []
  /** The one that is prepared while another is written. */
  #next = true

  /** A disk that takes so long for a commit with zeros and without. */
  write(bytes: number, filledMs: number, bareMs: number): void {
    const isFilled = this.#next
    this.filled.push(isFilled)
    this.#next = this.rule.wantsZeros
    for (let i = 0; i < COMMITS; i++) this.rule.committed(bytes, isFilled ? filledMs : bareMs)
    this.rule.endSegment(isFilled)
  }

  /** Of the last so many segments. */
  filledOf(last: number): number {
    return this.filled.slice(-last).filter(Boolean).length
  }
}

test('small groups have zeros, large ones do not, whatever a commit takes', () => {
  for (const [bytes, isFilled] of [
    [4 * KIB, true],
    [2 << 20, false],
  ] as const)
    for (const [filledMs, bareMs] of [
      [1, 9],
      [9, 1],
    ] as const) {
      const segments = new Segments()
      for (let i = 0; i < 60; i++) segments.write(bytes, filledMs, bareMs)
      assert.equal(segments.filledOf(50), isFilled ? 50 : 0)
    }
})

test('between, no zeros where commits do without: a journal of the file system is found out and tried again later', () => {
  const cheap = new Segments()
  for (let i = 0; i < 60; i++) cheap.write(200 * KIB, 0.18, 0.3)
  assert.equal(cheap.filledOf(50), 0)

  const dear = new Segments()
  for (let i = 0; i < 60; i++) dear.write(200 * KIB, 0.34, 0.92)
  // Of 16 and those that are prepared or written before their commits are known.
  assert.ok(dear.filledOf(40) >= 34, `${dear.filledOf(40)} of 40`)
  assert.ok(dear.filledOf(40) < 40, 'never tried again')

  // The other disk from then on.
  for (let i = 0; i < 60; i++) dear.write(200 * KIB, 0.18, 0.3)
  assert.equal(dear.filledOf(30), 0)
})

test('a disk that stands still once, and a segment with few commits, tell nothing', () => {
  const rule = new ZeroRule()
  const segment = (isFilled: boolean, commits: number, longest: number): void => {
    for (let i = 0; i < commits; i++) rule.committed(200 * KIB, i === 0 ? longest : 0.2)
    rule.endSegment(isFilled)
  }
  segment(true, COMMITS, 0.2)
  segment(false, COMMITS, 800)
  assert.equal(rule.wantsZeros, false)
  segment(false, 2, 800)
  assert.equal(rule.wantsZeros, false)
})
