// What can be wrong with the bytes of a datum, as numbers: hot code returns them (0 is valid, and functions
// that return a position return the code negated), the cold path turns them into words.

export const VALID = 0
export const TRUNCATED = 1
export const VARINT_TOO_LONG = 2
export const INT_RANGE = 3
export const LONG_RANGE = 4
export const BOOLEAN_VALUE = 5
export const LENGTH_NEGATIVE = 6
export const UTF8 = 7
export const ENUM_INDEX = 8
export const UNION_INDEX = 9
export const BLOCK_COUNT = 10
export const BLOCK_SIZE = 11
export const NESTING = 12
export const TRAILING = 13
export const UUID = 14
export const DECIMAL = 15
export const TIME_OF_DAY = 16

/** Reason of each code, for the message that a refused client reads. */
export const REASONS: readonly string[] = [
  'valid',
  'the datum ends before its last field',
  'a variable-length integer is longer than its type allows',
  'an int exceeds 32 bits',
  'a long exceeds 64 bits',
  'a boolean is neither 0 nor 1',
  'a length is negative',
  'a string is not UTF-8',
  'an enum index is not one of its symbols',
  'a union index is not one of its branches',
  'a block has an impossible count of items',
  'the items of a block do not fill its stated size',
  'values are nested too deep',
  'bytes follow the datum',
  'a uuid is not of the form 8-4-4-4-12',
  'a decimal exceeds its precision',
  'a time is not within a day',
]

/** Items of nothing (null, an empty record) that one array or map may hold: they take no bytes that could bound them. */
export const EMPTY_ITEMS_MAX = 65_536
