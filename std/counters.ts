// Counters that worker threads write and the main thread reads without a message: one Float64 slot each in
// shared memory. A double is exact to 2^53, and one writer per block makes plain stores enough.

/** A block of named counters for one thread. `names` fixes the layout on both sides. */
export class CounterBlock<Name extends string> {
  readonly names: readonly Name[]
  readonly buffer: SharedArrayBuffer
  /** Hot code keeps this and an index: `values[index] += n`. */
  readonly values: Float64Array

  constructor(names: readonly Name[], buffer?: SharedArrayBuffer) {
    this.names = names
    this.buffer = buffer ?? new SharedArrayBuffer(names.length * 8)
    this.values = new Float64Array(this.buffer)
  }

  index(name: Name): number {
    return this.names.indexOf(name)
  }

  add(name: Name, count: number): void {
    this.values[this.index(name)]! += count
  }

  set(name: Name, value: number): void {
    this.values[this.index(name)] = value
  }

  get(name: Name): number {
    return this.values[this.index(name)]!
  }
}
