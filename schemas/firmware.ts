// Firmware versions as devices report them, and the ranges that a contract's rules are chosen by.
//
// Versions are semver (semver.org 2.0.0) read with tolerance, because firmwares are older than semver: a prefix
// (`v`, `fw`, `rev` …), any number of numeric parts and a tag are taken; what has no leading number is no
// version and matches no range. A range:
//
//   range      = comparators *( "||" comparators )          any of them
//   comparators = comparator *( " " comparator )            all of them
//   comparator = [ ">=" | "<=" | ">" | "<" | "=" | "^" | "~" ] version
//   version    = number *( "." ( number | "x" | "*" ) ) [ "-" tag ]
//
// A bound compares as many parts as it states: 2.1.7 is `=2.1`, is `<=2.1`, is not `>2.1`. A pre-release tag
// counts only where the bound states one too, so `<3` does not let 3.0.0-rc1 in: it behaves like 3, not like 2.

export interface FirmwareVersion {
  parts: readonly number[]
  /** Pre-release tag, `rc1` of `2.0.0-rc1`; empty for a release. */
  tag: string
}

const VERSION =
  /^\s*(?:(?:version|firmware|release|fw|rev|v|r)[\s._-]*)?(\d{1,9}(?:\.\d{1,9})*)(?:-([0-9A-Za-z.-]+))?(?:\+.*|[\s_].*)?$/i

/** The version in `text`, undefined where there is none. */
export function parseFirmware(text: string): FirmwareVersion | undefined {
  if (text.length > FIRMWARE_LENGTH_MAX) return undefined
  const match = VERSION.exec(text)
  if (match === null) return undefined
  return { parts: match[1]!.split('.').map(Number), tag: match[2] ?? '' }
}

/** A device may send any text; longer ones are no version. */
const FIRMWARE_LENGTH_MAX = 128

type Operator = '>=' | '<=' | '>' | '<' | '=' | '^' | '~'

interface Comparator {
  operator: Operator
  bound: FirmwareVersion
}

export interface FirmwareRange {
  readonly text: string
  matches(version: FirmwareVersion): boolean
}

const COMPARATOR = /^(>=|<=|>|<|=|\^|~)?v?(\d{1,9}(?:\.\d{1,9})*)((?:\.[xX*])*)(?:-([0-9A-Za-z.-]+))?$/

/** Parses a range; a string says what is wrong with it. */
export function parseFirmwareRange(text: string): FirmwareRange | string {
  const alternatives: Comparator[][] = []
  for (const alternative of text.split('||')) {
    const words = alternative.replace(/(>=|<=|>|<|=|\^|~)\s+/g, '$1').trim()
    if (words === '') return `a range is empty in '${text}'`
    const comparators: Comparator[] = []
    for (const word of words.split(/\s+/)) {
      const match = COMPARATOR.exec(word)
      if (match === null)
        return `'${word}' is no comparator: allowed are >=, <=, >, <, =, ^, ~ with a version such as 2, 2.1, 2.x or 2.1.0-rc1`
      comparators.push({
        operator: (match[1] ?? '=') as Operator,
        bound: { parts: match[2]!.split('.').map(Number), tag: match[4] ?? '' },
      })
    }
    alternatives.push(comparators)
  }
  return {
    text,
    matches: (version) => alternatives.some((comparators) => comparators.every((one) => holds(one, version))),
  }
}

function holds({ operator, bound }: Comparator, version: FirmwareVersion): boolean {
  const order = compareAsFarAs(version, bound)
  switch (operator) {
    case '=':
      return order === 0
    case '>':
      return order > 0
    case '<':
      return order < 0
    case '>=':
      return order >= 0
    case '<=':
      return order <= 0
    case '~':
      // The same major.minor (or major alone, where the bound states no more).
      return order >= 0 && samePrefix(version, bound, Math.min(2, bound.parts.length))
    case '^':
      // The same left-most part that is not zero.
      return order >= 0 && samePrefix(version, bound, caretLength(bound.parts))
  }
}

function caretLength(parts: readonly number[]): number {
  const first = parts.findIndex((part) => part !== 0)
  return first < 0 ? parts.length : first + 1
}

function samePrefix(version: FirmwareVersion, bound: FirmwareVersion, count: number): boolean {
  for (let i = 0; i < count; i++) if ((version.parts[i] ?? 0) !== bound.parts[i]) return false
  return true
}

/** Order of `version` against `bound` by the parts that the bound states. */
function compareAsFarAs(version: FirmwareVersion, bound: FirmwareVersion): number {
  for (let i = 0; i < bound.parts.length; i++) {
    const difference = (version.parts[i] ?? 0) - bound.parts[i]!
    if (difference !== 0) return difference
  }
  return bound.tag === '' ? 0 : compareTags(version.tag, bound.tag)
}

/** Precedence of pre-release tags (semver.org 2.0.0, 11): a release is above its pre-releases. */
function compareTags(left: string, right: string): number {
  if (left === right) return 0
  if (left === '') return 1
  const lefts = left.split('.')
  const rights = right.split('.')
  for (let i = 0; i < Math.max(lefts.length, rights.length); i++) {
    const a = lefts[i]
    const b = rights[i]
    if (a === undefined) return -1
    if (b === undefined) return 1
    if (a === b) continue
    const aNumeric = /^\d+$/.test(a)
    const bNumeric = /^\d+$/.test(b)
    if (aNumeric && bNumeric) return Number(a) - Number(b)
    if (aNumeric !== bNumeric) return aNumeric ? -1 : 1
    return a < b ? -1 : 1
  }
  return 0
}

/** The rule set of firmwares that match no range. */
export const DEFAULT_FIRMWARE = 'default'

/** Firmware strings come from devices, so what is remembered of them is bounded. */
const CACHE_ENTRIES_MAX = 4096

/** Chooses an index among ranges by a firmware string: the first range that matches, else `fallback`. */
export class FirmwareChooser {
  readonly #ranges: readonly (FirmwareRange | undefined)[]
  readonly #fallback: number
  readonly #cache = new Map<string, number>()

  /** `ranges` by index; undefined entries (the default rule set) are never matched. */
  constructor(ranges: readonly (FirmwareRange | undefined)[], fallback: number) {
    this.#ranges = ranges
    this.#fallback = fallback
  }

  choose(firmware: string | null | undefined): number {
    if (firmware === null || firmware === undefined) return this.#fallback
    const known = this.#cache.get(firmware)
    if (known !== undefined) return known
    const version = parseFirmware(firmware)
    const found =
      version === undefined ? -1 : this.#ranges.findIndex((range) => range?.matches(version) === true)
    const chosen = found < 0 ? this.#fallback : found
    if (this.#cache.size >= CACHE_ENTRIES_MAX) this.#cache.clear()
    this.#cache.set(firmware, chosen)
    return chosen
  }
}
