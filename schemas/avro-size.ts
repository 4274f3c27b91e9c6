// Bytes that a datum takes at least: what bounds the count of items that a block can claim.
import type { AvroNode } from './avro-node.ts'

/** Fewest bytes that a datum of `node` can take; 0 where nothing is written. */
export function minimumSize(node: AvroNode, open: readonly AvroNode[] = []): number {
  switch (node.kind) {
    case 'null':
      return 0
    case 'float':
      return 4
    case 'double':
      return 8
    case 'fixed':
      return node.size
    case 'record': {
      if (open.includes(node)) return 0
      let sum = 0
      for (const field of node.fields) sum += minimumSize(field.node, [...open, node])
      return sum
    }
    case 'union':
      return 1 + Math.min(...node.branches.map((branch) => minimumSize(branch, open)))
    default:
      return 1
  }
}
