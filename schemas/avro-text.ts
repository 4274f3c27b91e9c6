// Text forms of Avro's logical types: ISO-8601 dates, times and timestamps, decimals, uuids; both directions,
// exact. Every parser returns undefined for text that is not of its form; nothing here throws on input.

const DATE = /^(\d{4})-(\d\d)-(\d\d)$/
const TIME = /^(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?$/
const TIMESTAMP = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)(Z|z|([+-])(\d\d):?(\d\d)?)$/
const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/
const DAY_MS = 86_400_000

/** Days since 1970-01-01 of `YYYY-MM-DD`. */
export function parseDate(text: string): number | undefined {
  const match = DATE.exec(text)
  if (match === null) return undefined
  const year = Number(match[1])
  const month = Number(match[2])
  const day = Number(match[3])
  const date = new Date(0)
  // setUTCFullYear takes years below 100 as they are, Date.UTC adds 1900 to them.
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  return date.getTime() / DAY_MS
}

/** Units since midnight of `HH:MM[:SS[.fraction]]`; `perSecond` units a second, digits beyond them are cut. */
export function parseTime(text: string, perSecond: number): number | undefined {
  const match = TIME.exec(text)
  if (match === null) return undefined
  const hours = Number(match[1])
  const minutes = Number(match[2])
  const seconds = Number(match[3] ?? 0)
  if (hours > 23 || minutes > 59 || seconds > 59) return undefined
  const nanos = Number((match[4] ?? '').padEnd(9, '0'))
  return (hours * 3600 + minutes * 60 + seconds) * perSecond + Math.floor(nanos / (1e9 / perSecond))
}

/** Units since 1970 UTC of an ISO-8601 timestamp. Its zone must be there: a guess would shift rows silently. */
export function parseTimestamp(text: string, perSecond: number): number | undefined {
  const match = TIMESTAMP.exec(text)
  if (match === null) return undefined
  const days = parseDate(match[1]!)
  const time = parseTime(match[2]!, perSecond)
  if (days === undefined || time === undefined) return undefined
  const zoneMinutes = Number(match[5] ?? 0) * 60 + Number(match[6] ?? 0)
  const shift = (match[4] === '-' ? 1 : -1) * zoneMinutes * 60
  return (days * 86_400 + shift) * perSecond + time
}

/** Unscaled value of decimal text, exact: undefined where it has more than `scale` digits after the point. */
export function parseDecimal(text: string, scale: number): bigint | undefined {
  const match = DECIMAL.exec(text)
  if (match === null) return undefined
  const whole = match[2] ?? ''
  const fraction = match[3] ?? ''
  if (whole === '' && fraction === '') return undefined
  const exponent = Number(match[4] ?? 0)
  const digits = (whole + fraction).replace(/^0+(?=\d)/, '')
  // value = digits · 10^(exponent − fraction.length); unscaled = value · 10^scale
  const shift = exponent - fraction.length + scale
  if (shift > 100 && digits !== '0') return undefined
  let magnitude: bigint
  if (shift >= 0) magnitude = digits === '0' ? 0n : BigInt(digits) * 10n ** BigInt(shift)
  else {
    const kept = digits.slice(0, Math.max(0, digits.length + shift))
    const cut = digits.slice(Math.max(0, digits.length + shift))
    if (/[1-9]/.test(cut)) return undefined
    magnitude = BigInt(kept === '' ? '0' : kept)
  }
  return match[1] === '-' ? -magnitude : magnitude
}

/** Decimal text of a two's complement, big-endian number in bytes[start, end). */
export function decimalText(bytes: Uint8Array, start: number, end: number, scale: number): string {
  let unscaled = end > start && bytes[start]! >= 0x80 ? -1n : 0n
  for (let at = start; at < end; at++) unscaled = (unscaled << 8n) | BigInt(bytes[at]!)
  const sign = unscaled < 0n ? '-' : ''
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  if (scale === 0) return sign + digits
  return `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}

/** `xxxxxxxx-xxxx-…` of 16 bytes. */
export function uuidText(bytes: Uint8Array, start: number): string {
  const hex = Buffer.from(bytes.subarray(start, start + 16)).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
