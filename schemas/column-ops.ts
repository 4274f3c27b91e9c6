// Columns made from columns: rows picked in another order, a range of rows.
import type { Column } from './columns.ts'

/** Whether `row` of the column holds a value. */
export function isValid(column: Column, row: number): boolean {
  return column.validity === undefined || (column.validity[row >> 3]! & (1 << (row & 7))) !== 0
}

/** The rows `indices` of `column`, in that order, nested columns included. A dictionary is shared, not copied. */
export function gatherColumn(column: Column, indices: Uint32Array): Column {
  const rowCount = indices.length
  const base = { field: column.field, rowCount, validity: gatherValidity(column.validity, indices) }
  switch (column.layout) {
    case 'words':
      return { layout: 'words', ...base, values: gatherWords(column.values, indices) }
    case 'longs': {
      const words = new Int32Array(2 * rowCount)
      const from = column.words
      for (let i = 0; i < rowCount; i++) {
        const at = 2 * indices[i]!
        words[2 * i] = from[at]!
        words[2 * i + 1] = from[at + 1]!
      }
      return { layout: 'longs', ...base, words }
    }
    case 'bytes': {
      const { byteWidth, data: from } = column
      const data = new Uint8Array(byteWidth * rowCount)
      for (let i = 0; i < rowCount; i++) {
        const at = byteWidth * indices[i]!
        for (let j = 0; j < byteWidth; j++) data[byteWidth * i + j] = from[at + j]!
      }
      return { layout: 'bytes', ...base, byteWidth, data }
    }
    case 'variable': {
      const offsets = gatherOffsets(column.offsets, indices)
      const data = new Uint8Array(offsets[rowCount]!)
      const { data: from, offsets: starts } = column
      for (let i = 0; i < rowCount; i++) {
        const start = starts[indices[i]!]!
        const end = starts[indices[i]! + 1]!
        let to = offsets[i]!
        if (end - start > 64) data.set(from.subarray(start, end), to)
        else for (let at = start; at < end; at++) data[to++] = from[at]!
      }
      return { layout: 'variable', ...base, offsets, data }
    }
    case 'dictionary':
      return { ...column, ...base, indices: gatherWords(column.indices, indices) }
    case 'struct':
      return {
        layout: 'struct',
        ...base,
        children: column.children.map((child) => gatherColumn(child, indices)),
      }
    case 'list': {
      const offsets = gatherOffsets(column.offsets, indices)
      const elements = elementIndices(column.offsets, indices, offsets)
      return { layout: 'list', ...base, offsets, element: gatherColumn(column.element, elements) }
    }
    case 'map': {
      const offsets = gatherOffsets(column.offsets, indices)
      const elements = elementIndices(column.offsets, indices, offsets)
      return {
        layout: 'map',
        ...base,
        offsets,
        key: gatherColumn(column.key, elements),
        value: gatherColumn(column.value, elements),
      }
    }
  }
}

function gatherValidity(validity: Uint8Array | undefined, indices: Uint32Array): Uint8Array | undefined {
  if (validity === undefined) return undefined
  const bits = new Uint8Array((indices.length + 7) >> 3)
  let nulls = 0
  for (let i = 0; i < indices.length; i++) {
    const row = indices[i]!
    const bit = (validity[row >> 3]! >> (row & 7)) & 1
    bits[i >> 3]! |= bit << (i & 7)
    nulls += 1 - bit
  }
  return nulls === 0 ? undefined : bits
}

function gatherWords<A extends Uint8Array | Int32Array | Float32Array | Float64Array>(
  from: A,
  indices: Uint32Array,
): A {
  const to = new (from.constructor as new (length: number) => A)(indices.length)
  for (let i = 0; i < indices.length; i++) to[i] = from[indices[i]!]!
  return to
}

function gatherOffsets(offsets: Int32Array, indices: Uint32Array): Int32Array {
  const gathered = new Int32Array(indices.length + 1)
  let end = 0
  for (let i = 0; i < indices.length; i++) {
    const row = indices[i]!
    end += offsets[row + 1]! - offsets[row]!
    gathered[i + 1] = end
  }
  return gathered
}

/** Where the elements of the picked rows lie. */
function elementIndices(offsets: Int32Array, indices: Uint32Array, gathered: Int32Array): Uint32Array {
  const elements = new Uint32Array(gathered[indices.length]!)
  let to = 0
  for (let i = 0; i < indices.length; i++) {
    const row = indices[i]!
    for (let at = offsets[row]!; at < offsets[row + 1]!; at++) elements[to++] = at
  }
  return elements
}

/** Rows [from, to) of `column`; views of its arrays wherever the layout allows. */
export function sliceColumn(column: Column, from: number, to: number): Column {
  const base = {
    field: column.field,
    rowCount: to - from,
    validity: column.validity === undefined ? undefined : sliceBits(column.validity, from, to),
  }
  switch (column.layout) {
    case 'words':
      return { layout: 'words', ...base, values: column.values.subarray(from, to) }
    case 'longs':
      return { layout: 'longs', ...base, words: column.words.subarray(2 * from, 2 * to) }
    case 'bytes': {
      const { byteWidth } = column
      return {
        layout: 'bytes',
        ...base,
        byteWidth,
        data: column.data.subarray(byteWidth * from, byteWidth * to),
      }
    }
    case 'variable': {
      const data = column.data.subarray(column.offsets[from]!, column.offsets[to]!)
      return { layout: 'variable', ...base, offsets: sliceOffsets(column.offsets, from, to), data }
    }
    case 'dictionary':
      return { ...column, ...base, indices: column.indices.subarray(from, to) }
    case 'struct':
      return {
        layout: 'struct',
        ...base,
        children: column.children.map((child) => sliceColumn(child, from, to)),
      }
    case 'list': {
      const element = sliceColumn(column.element, column.offsets[from]!, column.offsets[to]!)
      return { layout: 'list', ...base, offsets: sliceOffsets(column.offsets, from, to), element }
    }
    case 'map': {
      const [first, last] = [column.offsets[from]!, column.offsets[to]!]
      return {
        layout: 'map',
        ...base,
        offsets: sliceOffsets(column.offsets, from, to),
        key: sliceColumn(column.key, first, last),
        value: sliceColumn(column.value, first, last),
      }
    }
  }
}

function sliceBits(bits: Uint8Array, from: number, to: number): Uint8Array | undefined {
  const count = to - from
  const sliced = new Uint8Array((count + 7) >> 3)
  const shift = from & 7
  const first = from >> 3
  for (let i = 0; i < sliced.length; i++)
    sliced[i] = (bits[first + i]! >> shift) | ((bits[first + i + 1] ?? 0) << (8 - shift))
  const rest = count & 7
  if (rest !== 0) sliced[sliced.length - 1]! &= (1 << rest) - 1
  let ones = 0
  for (let i = 0; i < count; i++) ones += (sliced[i >> 3]! >> (i & 7)) & 1
  return ones === count ? undefined : sliced
}

function sliceOffsets(offsets: Int32Array, from: number, to: number): Int32Array {
  const first = offsets[from]!
  const sliced = offsets.slice(from, to + 1)
  if (first !== 0) for (let i = 0; i < sliced.length; i++) sliced[i]! -= first
  return sliced
}
