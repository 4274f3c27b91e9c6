// Whether a segment is filled with zeros before groups are written to it.
//
// Into blocks that exist a group goes faster: neither a size nor an extent becomes durable with it. But zeros are as many
// bytes again for the disk, and what they save is about the same for each group, whatever its size. So small groups have
// them and large ones do not. Between, the file system decides: ext4 took 1.5 to 1.7 times as long for a group of 64 to 512
// KiB without them, and 2.4 to 3.5 times where it has a journal. What a commit took in the last segment of either kind
// tells which it is.

/** Mean of the groups of a segment up to which the next one is filled, whatever they took. */
const FILLED_BYTES_MAX = 64 << 10
/** Mean above which it is not. */
const BARE_BYTES_MIN = 1 << 20
/** How much longer a commit may take without zeros. */
const BARE_TIMES_MAX = 2
/** Segments that are filled, where it took longer, until one is tried without zeros again. */
const FILLED_SEGMENTS = 16
/** Fewer commits in a segment tell nothing. */
const COMMITS_MIN = 16
/** A commit counts for that much at most: a disk that stood still for a moment says nothing of zeros. */
const COMMIT_MS_MAX = 10

export class ZeroRule {
  #commits = 0
  #bytes = 0
  #ms = 0
  /** Of the last segment. */
  #bytesMean = 0
  /** Mean of a commit in the last segment of either kind; 0 while unknown. */
  #filledMs = 0
  #bareMs = 0
  /** Segments to be filled before one is tried without zeros. */
  #filledLeft = 0

  /** A group was written and synced. */
  committed(byteLength: number, ms: number): void {
    this.#commits++
    this.#bytes += byteLength
    this.#ms += Math.min(ms, COMMIT_MS_MAX)
  }

  /** The segment of these commits is full. */
  endSegment(isFilled: boolean): void {
    this.#bytesMean = this.#bytes / Math.max(1, this.#commits)
    if (this.#filledLeft > 0) this.#filledLeft--
    if (this.#commits >= COMMITS_MIN) {
      const ms = this.#ms / this.#commits
      if (isFilled) this.#filledMs = ms
      else this.#bareMs = ms
      const isSlow = this.#filledMs > 0 && this.#bareMs > BARE_TIMES_MAX * this.#filledMs
      if (!isFilled && isSlow) this.#filledLeft = FILLED_SEGMENTS
    }
    this.#commits = this.#bytes = this.#ms = 0
  }

  /** Whether the next segment gets zeros. */
  get wantsZeros(): boolean {
    if (this.#bytesMean <= FILLED_BYTES_MAX) return true
    return this.#bytesMean <= BARE_BYTES_MIN && this.#filledLeft > 0
  }
}
