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

/** What rows are sorted and partitioned by. */
export interface RowOrder {
  /** Number of each row's device, in any order. */
  deviceOf: Int32Array
  /** Place of each device among all devices, by bytes. */
  rankOf: Int32Array
  /** Microseconds; -Infinity is null and comes first. */
  times: Float64Array
  /** Bucket of each device, where the table has buckets. */
  buckets: Int32Array | undefined
}

export function sortRows({ deviceOf, rankOf, times, buckets }: RowOrder): PartitionRows[] {
  const rowCount = deviceOf.length
  const deviceCount = rankOf.length
  const counts = new Int32Array(deviceCount)
  for (let row = 0; row < rowCount; row++) counts[deviceOf[row]!]!++
  const byRank = new Int32Array(deviceCount)
  for (let device = 0; device < deviceCount; device++) byRank[rankOf[device]!] = device
  /** Where the device's next row goes; after the loop, where its rows end. */
  const next = new Int32Array(deviceCount)
  let place = 0
  for (let rank = 0; rank < deviceCount; rank++) {
    const device = byRank[rank]!
    next[device] = place
    place += counts[device]!
  }

  const order = new Uint32Array(rowCount)
  // Times are read here in the order they lie in; along the sorted order each would be a cache miss.
  const lastTime = new Float64Array(deviceCount).fill(-Infinity)
  const isBroken = new Uint8Array(deviceCount)
  let broken = false
  let first = Infinity
  let last = -Infinity
  for (let row = 0; row < rowCount; row++) {
    const device = deviceOf[row]!
    const time = times[row]!
    if (time < lastTime[device]!) {
      isBroken[device] = 1
      broken = true
    }
    lastTime[device] = time
    if (time < first) first = time
    if (time > last) last = time
    order[next[device]!++] = row
  }
  if (broken) {
    const scratch = new Uint32Array(rowCount)
    for (let device = 0; device < deviceCount; device++)
      if (isBroken[device] === 1)
        mergeSort(order, next[device]! - counts[device]!, next[device]!, times, scratch)
  }

  const day = Math.floor(first / MICROS_PER_DAY)
  if (rowCount > 0 && buckets === undefined && day === Math.floor(last / MICROS_PER_DAY))
    return [{ day: day === -Infinity ? undefined : day, bucket: undefined, indices: order }]
  return splitByPartition(order, deviceOf, times, buckets)
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
  deviceOf: Int32Array,
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
    const bucket = buckets === undefined ? 0 : buckets[deviceOf[row]!]!
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
