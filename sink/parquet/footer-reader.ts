// The footer, read (footer.ts has its place in the file; parquet.thrift FileMetaData): the tree of columns, and
// where the pages of each column chunk lie.
import { MAGIC } from './footer.ts'
import { ThriftReader } from './thrift-reader.ts'

const LENGTH_BYTES = 4
const TAIL_BYTES = LENGTH_BYTES + MAGIC.length

/** parquet.thrift FieldRepetitionType. */
export const REPETITION = { REQUIRED: 0, OPTIONAL: 1, REPEATED: 2 } as const

/** A node of the file's schema. */
export interface FileNode {
  name: string
  fieldId: number | undefined
  repetition: number
  /** parquet.thrift Type; undefined in a group. */
  physicalType: number | undefined
  typeLength: number
  /** ConvertedType. */
  converted: number | undefined
  logical: LogicalType | undefined
  children: FileNode[]
  /** Column chunk of the first leaf in or below. */
  firstLeaf: number
  /** Levels of a leaf. */
  maxDefinition: number
  maxRepetition: number
}

export interface LogicalType {
  /** Field id in the union LogicalType. */
  id: number
  scale: number
  precision: number
  isUtc: boolean
  /** TimeUnit: 1 milliseconds, 2 microseconds, 3 nanoseconds. */
  unit: number
}

export interface FileChunk {
  codec: number
  dictionaryOffset: number | undefined
  /** Of the first data page. */
  dataOffset: number
  /** Of all its pages with their headers. */
  compressedBytes: number
  /** Of the offset index; undefined where there is none. */
  offsetIndexAt: number | undefined
  /** Once they are known. */
  pages: PageLocation[] | undefined
}

export interface FileGroup {
  rowCount: number
  chunks: FileChunk[]
}

export interface FileFooter {
  root: FileNode
  rowCount: number
  groups: FileGroup[]
}

export interface PageLocation {
  offset: number
  /** First row, in the row group. */
  firstRow: number
}

/** Bytes from the footer to the end of a file, of which `bytes` are the last ones. Throws RangeError where it is no Parquet file. */
export function footerByteLength(bytes: Uint8Array): number {
  const tail = bytes.length - TAIL_BYTES
  if (tail < 0 || MAGIC.some((byte, i) => bytes[tail + LENGTH_BYTES + i] !== byte))
    throw new RangeError('no PAR1 at its end')
  return TAIL_BYTES + new DataView(bytes.buffer, bytes.byteOffset + tail).getUint32(0, true)
}

/** `bytes`: a file, or its end. Throws RangeError where the bytes are no Parquet file. */
export function readFooter(bytes: Uint8Array): FileFooter {
  const length = footerByteLength(bytes) - TAIL_BYTES
  const tail = bytes.length - TAIL_BYTES
  if (length > tail) throw new RangeError(`a footer of ${length} bytes`)
  const reader = new ThriftReader(bytes, tail - length)
  const elements: FileNode[] = []
  const childCounts: number[] = []
  const footer: FileFooter = { root: newNode(), rowCount: 0, groups: [] }
  reader.struct((id) => {
    if (id === 2) reader.list(() => elements.push(readElement(reader, childCounts)))
    else if (id === 3) footer.rowCount = reader.zigzag()
    else if (id === 4) reader.list(() => footer.groups.push(readGroup(reader)))
    else return false
    return true
  })
  footer.root = buildTree(elements, childCounts)
  return footer
}

function newNode(): FileNode {
  return {
    name: '',
    fieldId: undefined,
    repetition: REPETITION.REQUIRED,
    physicalType: undefined,
    typeLength: 0,
    converted: undefined,
    logical: undefined,
    children: [],
    firstLeaf: 0,
    maxDefinition: 0,
    maxRepetition: 0,
  }
}

/** A SchemaElement. */
function readElement(reader: ThriftReader, childCounts: number[]): FileNode {
  const node = newNode()
  let children = 0
  reader.struct((id) => {
    if (id === 1) node.physicalType = reader.zigzag()
    else if (id === 2) node.typeLength = reader.zigzag()
    else if (id === 3) node.repetition = reader.zigzag()
    else if (id === 4) node.name = reader.string()
    else if (id === 5) children = reader.zigzag()
    else if (id === 6) node.converted = reader.zigzag()
    else if (id === 9) node.fieldId = reader.zigzag()
    else if (id === 10) node.logical = readLogicalType(reader)
    else return false
    return true
  })
  childCounts.push(children)
  return node
}

function readLogicalType(reader: ThriftReader): LogicalType {
  const type: LogicalType = { id: 0, scale: 0, precision: 0, isUtc: false, unit: 0 }
  reader.struct((id) => {
    type.id = id
    reader.struct((member, wire) => {
      const isDecimal = id === 5
      if (isDecimal && member === 1) type.scale = reader.zigzag()
      else if (isDecimal && member === 2) type.precision = reader.zigzag()
      else if (!isDecimal && member === 1 && (wire === 1 || wire === 2)) type.isUtc = reader.isTrue(wire)
      else if (!isDecimal && member === 2 && wire === 12)
        reader.struct((unit) => {
          type.unit = unit
          reader.struct(() => false)
          return true
        })
      else return false
      return true
    })
    return true
  })
  return type
}

function readGroup(reader: ThriftReader): FileGroup {
  const group: FileGroup = { rowCount: 0, chunks: [] }
  reader.struct((id) => {
    if (id === 1) reader.list(() => group.chunks.push(readChunk(reader)))
    else if (id === 3) group.rowCount = reader.zigzag()
    else return false
    return true
  })
  return group
}

function readChunk(reader: ThriftReader): FileChunk {
  const chunk: FileChunk = {
    codec: 0,
    dictionaryOffset: undefined,
    dataOffset: 0,
    compressedBytes: 0,
    offsetIndexAt: undefined,
    pages: undefined,
  }
  reader.struct((id) => {
    if (id === 3)
      reader.struct((member) => {
        if (member === 4) chunk.codec = reader.zigzag()
        else if (member === 7) chunk.compressedBytes = reader.zigzag()
        else if (member === 9) chunk.dataOffset = reader.zigzag()
        else if (member === 11) chunk.dictionaryOffset = reader.zigzag()
        else return false
        return true
      })
    else if (id === 4) chunk.offsetIndexAt = reader.zigzag()
    else return false
    return true
  })
  return chunk
}

/** SchemaElements stand depth first, each with the number of its children. */
function buildTree(elements: readonly FileNode[], childCounts: readonly number[]): FileNode {
  let at = 0
  let leaves = 0
  const take = (definition: number, repetition: number, depth: number): FileNode => {
    const node = elements[at]
    if (node === undefined || depth > 100) throw new RangeError('a schema that is no tree')
    const children = childCounts[at++]!
    const own = depth === 0 ? REPETITION.REQUIRED : node.repetition
    node.maxDefinition = definition + (own === REPETITION.REQUIRED ? 0 : 1)
    node.maxRepetition = repetition + (own === REPETITION.REPEATED ? 1 : 0)
    node.firstLeaf = leaves
    if (node.physicalType !== undefined) leaves++
    for (let i = 0; i < children; i++)
      node.children.push(take(node.maxDefinition, node.maxRepetition, depth + 1))
    return node
  }
  return take(0, 0, 0)
}

/** The pages of a chunk (parquet.thrift OffsetIndex). */
export function readOffsetIndex(bytes: Uint8Array, at: number): PageLocation[] {
  const reader = new ThriftReader(bytes, at)
  const pages: PageLocation[] = []
  reader.struct((id) => {
    if (id !== 1) return false
    reader.list(() => {
      const page: PageLocation = { offset: 0, firstRow: 0 }
      reader.struct((member) => {
        if (member === 1) page.offset = reader.zigzag()
        else if (member === 3) page.firstRow = reader.zigzag()
        else return false
        return true
      })
      pages.push(page)
    })
    return true
  })
  return pages
}
