// The order of rows in files: by partition (day, bucket), then device, then time, without moving a row until
// the whole order is known: an index sort on typed arrays, and one gather a column at the end.
//
// The log already holds the rows of a device in the order they came, which is almost always the order of
// their times. So the sort is: one counting sort by device (stable, O(rows)), then each device's run is
// checked and merge-sorted only where a backfill broke it, then one counting sort by partition.

/** Rows of one partition, as indices into the batch, in file order. */
export interface PartitionRows {
  /** Days since the epoch; undefined where the time is null. */
  day: number | undefined
  bucket: number | undefined
  indices: Uint32Array
}

const MICROS_PER_DAY = 86_400_000_000

/**
 * Orders rows. `ranks`: place of each row's device among all devices, below `rankCount`. `times`:
 * microseconds; -Infinity is null and comes first. `buckets`: bucket of each rank, where the table has buckets.
 */
export function sortRows(
  ranks: Int32Array,
  rankCount: number,
  times: Float64Array,
  buckets?: Int32Array,
): PartitionRows[] {
  const rowCount = ranks.length
  const starts = new Int32Array(rankCount + 1)
  for (let row = 0; row < rowCount; row++) starts[ranks[row]! + 1]!++
  for (let rank = 0; rank < rankCount; rank++) starts[rank + 1]! += starts[rank]!
  const order = new Uint32Array(rowCount)
  const next = starts.slice(0, rankCount)
  for (let row = 0; row < rowCount; row++) order[next[ranks[row]!]!++] = row

  let scratch: Uint32Array | undefined
  for (let rank = 0; rank < rankCount; rank++) {
    const from = starts[rank]!
    const to = starts[rank + 1]!
    if (isSorted(order, from, to, times)) continue
    scratch ??= new Uint32Array(rowCount)
    mergeSort(order, from, to, times, scratch)
  }
  return splitByPartition(order, ranks, times, buckets)
}

function isSorted(order: Uint32Array, from: number, to: number, times: Float64Array): boolean {
  for (let i = from + 1; i < to; i++) if (times[order[i]!]! < times[order[i - 1]!]!) return false
  return true
}

/** Natural merge sort of order[from, to) by time, stable: runs that are in order already are merged pairwise. */
function mergeSort(
  order: Uint32Array,
  from: number,
  to: number,
  times: Float64Array,
  scratch: Uint32Array,
): void {
  let bounds = [from]
  for (let i = from + 1; i < to; i++) if (times[order[i]!]! < times[order[i - 1]!]!) bounds.push(i)
  bounds.push(to)
  let source = order
  let target = scratch
  while (bounds.length > 2) {
    const merged = [from]
    for (let run = 0; run + 1 < bounds.length; run += 2) {
      const middle = bounds[run + 1]!
      const end = bounds[run + 2] ?? middle
      let a = bounds[run]!
      let b = middle
      for (let at = a; at < end; at++)
        target[at] =
          a < middle && (b >= end || times[source[a]!]! <= times[source[b]!]!) ? source[a++]! : source[b++]!
      merged.push(end)
    }
    bounds = merged
    const swapped = source
    source = target
    target = swapped
  }
  if (source !== order) order.set(source.subarray(from, to), from)
}

function splitByPartition(
  order: Uint32Array,
  ranks: Int32Array,
  times: Float64Array,
  buckets: Int32Array | undefined,
): PartitionRows[] {
  const rowCount = order.length
  const partitions: { day: number | undefined; bucket: number | undefined; count: number }[] = []
  const byKey = new Map<number, number>()
  const bucketCount = buckets === undefined ? 1 : buckets.reduce((max, one) => Math.max(max, one + 1), 1)
  const partitionOf = new Int32Array(rowCount)
  // Neighbours are nearly always of the same partition: the map is asked once a change.
  let lastKey = Number.NaN
  let last = 0
  for (let i = 0; i < rowCount; i++) {
    const row = order[i]!
    const day = Math.floor(times[row]! / MICROS_PER_DAY)
    const bucket = buckets === undefined ? 0 : buckets[ranks[row]!]!
    // A null time has a key of its own below every day.
    const key = (day === -Infinity ? -200_000_000 : day) * bucketCount + bucket
    if (key !== lastKey) {
      lastKey = key
      const known = byKey.get(key)
      if (known === undefined) {
        last = partitions.length
        byKey.set(key, last)
        partitions.push({
          day: day === -Infinity ? undefined : day,
          bucket: buckets === undefined ? undefined : bucket,
          count: 0,
        })
      } else last = known
    }
    partitionOf[i] = last
    partitions[last]!.count++
  }
  if (partitions.length <= 1) return partitions.map(({ day, bucket }) => ({ day, bucket, indices: order }))
  const result = partitions.map(({ day, bucket, count }) => ({
    day,
    bucket,
    indices: new Uint32Array(count),
  }))
  const filled = new Int32Array(partitions.length)
  for (let i = 0; i < rowCount; i++) {
    const partition = partitionOf[i]!
    result[partition]!.indices[filled[partition]!++] = order[i]!
  }
  return result.sort(
    (a, b) => (a.day ?? -Infinity) - (b.day ?? -Infinity) || (a.bucket ?? 0) - (b.bucket ?? 0) || 0,
  )
}
