// Units that a contract's `convert` step knows. A unit's value in its dimension's base is
// (value − offset) × numerator ÷ denominator; keeping the ratio apart keeps exact conversions exact
// (°F → °C is (x − 32) × 5 ÷ 9, not × 0.5555…). Factors: SI Brochure 9, NIST SP 811 appendix B.

interface Unit {
  dimension: string
  offset: number
  numerator: number
  denominator: number
}

const UNITS = new Map<string, Unit>()

function define(dimension: string, units: Record<string, readonly [number, number?, number?]>): void {
  for (const [name, [numerator, denominator = 1, offset = 0]] of Object.entries(units))
    UNITS.set(name, { dimension, offset, numerator, denominator })
}

define('temperature', { '°C': [1], K: [1, 1, 273.15], '°F': [5, 9, 32] })
define('pressure', {
  Pa: [1],
  hPa: [100],
  mbar: [100],
  kPa: [1000],
  bar: [100000],
  MPa: [1000000],
  psi: [6894.757293168],
  inHg: [3386.389],
  mmHg: [133.322387415],
})
define('ratio', { '%': [1, 100], '1': [1], '‰': [1, 1000], ppm: [1, 1000000] })
define('length', {
  m: [1],
  mm: [1, 1000],
  cm: [1, 100],
  km: [1000],
  µm: [1, 1000000],
  in: [254, 10000],
  ft: [3048, 10000],
})
define('speed', { 'm/s': [1], 'mm/s': [1, 1000], 'km/h': [10, 36], mph: [44704, 100000], kn: [1852, 3600] })
define('mass', { kg: [1], g: [1, 1000], mg: [1, 1000000], t: [1000], lb: [45359237, 100000000] })
define('energy', { J: [1], kJ: [1000], Wh: [3600], kWh: [3600000] })
define('power', { W: [1], mW: [1, 1000], kW: [1000], MW: [1000000] })
define('voltage', { V: [1], mV: [1, 1000], kV: [1000] })
define('current', { A: [1], mA: [1, 1000] })
define('frequency', { Hz: [1], kHz: [1000], MHz: [1000000], rpm: [1, 60] })
define('duration', { s: [1], ms: [1, 1000], min: [60], h: [3600] })
define('acceleration', { 'm/s²': [1], g0: [980665, 100000] })

/** A CEL double literal. */
const literal = (value: number): string => (Number.isInteger(value) ? `${value}.0` : String(value))

/**
 * The CEL expression that turns the double expression `value` from unit `from` to unit `to`; undefined where
 * one of them is unknown or they measure different things.
 */
export function conversion(value: string, from: string, to: string): string | undefined {
  const source = UNITS.get(from)
  const target = UNITS.get(to)
  if (source === undefined || target === undefined || source.dimension !== target.dimension) return undefined
  let expression = value
  if (source.offset !== 0) expression = `(${expression} - ${literal(source.offset)})`
  const numerator = source.numerator * target.denominator
  const denominator = source.denominator * target.numerator
  if (numerator % denominator === 0) {
    if (numerator !== denominator) expression = `${expression} * ${literal(numerator / denominator)}`
  } else if (denominator % numerator === 0) expression = `${expression} / ${literal(denominator / numerator)}`
  else expression = `${expression} * ${literal(numerator)} / ${literal(denominator)}`
  return target.offset === 0 ? expression : `${expression} + ${literal(target.offset)}`
}

/** Units that can be converted to `unit`, itself included; empty where it is unknown. */
export function unitsLike(unit: string): string[] {
  const dimension = UNITS.get(unit)?.dimension
  return [...UNITS].filter(([, other]) => other.dimension === dimension).map(([name]) => name)
}
