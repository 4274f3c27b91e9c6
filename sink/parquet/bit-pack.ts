// Bit packing, least significant bit first (Parquet Encodings.md, "RLE/Bit-packed hybrid"; the same layout
// serves DELTA_BINARY_PACKED's miniblocks): value k of width w lies in bits [k·w, (k+1)·w) of the bytes.
//
// 32 values of width w are exactly w 32-bit words, so there is one straight-line function per width, its
// shifts constants. They are generated once per thread, a width when it is first needed.
import { compileSource, SourceWriter } from '../../std/codegen.ts'

/** Values that one step of a packer takes. */
export const PACK_VALUES = 32

/**
 * Packs `blocks` × 32 values from values[from] into words of `into` from `at`, width words a block. Values
 * must fit the width.
 */
export type Packer = (values: Int32Array, from: number, blocks: number, into: Int32Array, at: number) => void

const packers: (Packer | undefined)[] = new Array(33)

/** The packer of a width from 1 to 32. */
export function packerOf(width: number): Packer {
  return (packers[width] ??= compileSource<Packer>(packerSource(width), {}))
}

/** Source of the packer, for tests and readers. */
export function packerSource(width: number): string {
  const out = new SourceWriter()
  out.block(`return function pack${width}(values, from, blocks, into, at)`, () => {
    out.line('let v = from, w = at')
    out.block(`for (let block = 0; block < blocks; block++, v += ${PACK_VALUES}, w += ${width})`, () => {
      for (let word = 0; word < width; word++) {
        const terms: string[] = []
        const first = Math.floor((word * 32) / width)
        for (let k = first; k < PACK_VALUES && k * width < (word + 1) * 32; k++) {
          const shift = k * width - word * 32
          const value = `values[v + ${k}]`
          terms.push(shift < 0 ? `${value} >>> ${-shift}` : shift === 0 ? value : `${value} << ${shift}`)
        }
        out.line(`into[w + ${word}] = ${terms.join(' | ')}`)
      }
    })
  })
  return out.toString()
}

/** Bits that the largest of `count` values 0 … count - 1 needs. */
export function bitsForCount(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1)
}
