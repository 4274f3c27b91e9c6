// Avro schemas as an immutable graph of nodes of ours (Avro specification 1.12, "Schema Declaration").
//
// All that is generated from a schema (validators, decoders, encoders, table columns) walks these nodes. A
// name is resolved to its node, so a recursive type is a cycle: records in one are marked `recursive`, and
// everything that walks nodes must stop there.

export interface DecimalType {
  precision: number
  scale: number
}

export interface NullNode {
  readonly kind: 'null'
}

export interface BooleanNode {
  readonly kind: 'boolean'
}

export interface IntNode {
  readonly kind: 'int'
  readonly logical?: 'date' | 'time-millis'
}

export interface LongNode {
  readonly kind: 'long'
  readonly logical?: 'time-micros' | 'timestamp-millis' | 'timestamp-micros'
}

export interface FloatNode {
  readonly kind: 'float'
}

export interface DoubleNode {
  readonly kind: 'double'
}

export interface BytesNode {
  readonly kind: 'bytes'
  readonly decimal?: Readonly<DecimalType>
}

export interface StringNode {
  readonly kind: 'string'
  readonly logical?: 'uuid'
}

export interface FixedNode {
  readonly kind: 'fixed'
  /** Full name, as of every named type. */
  readonly name: string
  readonly aliases: readonly string[]
  readonly size: number
  readonly logical?: 'uuid'
  readonly decimal?: Readonly<DecimalType>
}

export interface EnumNode {
  readonly kind: 'enum'
  readonly name: string
  readonly aliases: readonly string[]
  readonly doc?: string
  readonly symbols: readonly string[]
  /** Symbol that stands for a writer's symbol that a reader does not know. */
  readonly default?: string
}

export interface ArrayNode {
  readonly kind: 'array'
  readonly items: AvroNode
}

export interface MapNode {
  readonly kind: 'map'
  readonly values: AvroNode
}

export interface UnionNode {
  readonly kind: 'union'
  readonly branches: readonly AvroNode[]
}

export interface AvroField {
  readonly name: string
  readonly node: AvroNode
  readonly aliases: readonly string[]
  readonly doc?: string
  /** The default as the schema's JSON has it, and as a datum of `node`. */
  readonly default?: { readonly json: unknown; readonly bytes: Uint8Array }
}

export interface RecordNode {
  readonly kind: 'record'
  readonly name: string
  readonly aliases: readonly string[]
  readonly doc?: string
  readonly fields: readonly AvroField[]
  /** Whether a value of this record can hold another one of itself. */
  readonly recursive: boolean
}

export type AvroNode =
  | NullNode
  | BooleanNode
  | IntNode
  | LongNode
  | FloatNode
  | DoubleNode
  | BytesNode
  | StringNode
  | FixedNode
  | EnumNode
  | ArrayNode
  | MapNode
  | UnionNode
  | RecordNode

/** What a branch is called in a union: the full name of a named type, else the type's. */
export function branchName(node: AvroNode): string {
  return node.kind === 'record' || node.kind === 'enum' || node.kind === 'fixed' ? node.name : node.kind
}

/** Nodes directly below `node`. */
export function childrenOf(node: AvroNode): readonly AvroNode[] {
  switch (node.kind) {
    case 'record':
      return node.fields.map((field) => field.node)
    case 'array':
      return [node.items]
    case 'map':
      return [node.values]
    case 'union':
      return node.branches
    default:
      return []
  }
}

/** T of [null, T] or [T, null], with the branch indices; undefined for any other node. */
export function nullableOf(
  node: AvroNode,
): { value: AvroNode; nullIndex: number; valueIndex: number } | undefined {
  if (node.kind !== 'union' || node.branches.length !== 2) return undefined
  const nullIndex = node.branches.findIndex((branch) => branch.kind === 'null')
  if (nullIndex < 0) return undefined
  return { value: node.branches[1 - nullIndex]!, nullIndex, valueIndex: 1 - nullIndex }
}
