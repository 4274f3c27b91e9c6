// JSON Schema, as far as the routes describe themselves with it: what a library of types would give, without its
// three hundred modules, which each start of a process would load.

/** A JSON Schema; `isOptional` marks a property that `object` does not require. */
export interface JsonSchema {
  readonly [keyword: string]: unknown
}

const OPTIONAL = Symbol('optional')

const of =
  (type: string) =>
  (keywords: object = {}): JsonSchema => ({ type, ...keywords })

export const json = {
  string: of('string'),
  integer: of('integer'),
  boolean: of('boolean'),
  null: of('null'),
  /** Anything at all. */
  unknown: (): JsonSchema => ({}),
  literal: (value: string): JsonSchema => ({ type: 'string', const: value }),
  anyOf: (schemas: readonly JsonSchema[]): JsonSchema => ({ anyOf: schemas }),
  array: (items: JsonSchema): JsonSchema => ({ type: 'array', items }),
  /** A property that may be missing. */
  optional: (schema: JsonSchema): JsonSchema => ({ ...schema, [OPTIONAL]: true }),
  object: (properties: Readonly<Record<string, JsonSchema>>, keywords: object = {}): JsonSchema => {
    const required = Object.keys(properties).filter((name) => !(OPTIONAL in properties[name]!))
    return { type: 'object', ...(required.length > 0 ? { required } : {}), properties, ...keywords }
  },
  /** Any names, values of one kind. */
  record: (values: JsonSchema): JsonSchema => ({ type: 'object', patternProperties: { '^.*$': values } }),
}
