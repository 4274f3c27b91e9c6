// The salt of a segment that has lost its header, from its groups.
//
// A payload may imitate groups, of any salt; but what imitates lies in a group, and has fewer bytes than that. A file that is
// used again holds groups of the segment before, but their sequences are below those of this one. So it is the salt under
// which most bytes of batches lie in whole groups that come after the segment before it.
import type { Disk } from '../std/disk.ts'
import {
  ENTRY_BATCH,
  ENTRY_MOVED,
  GROUP_MAGIC,
  GROUP_SALT,
  SALT_BYTES,
  SEGMENT_HEADER,
} from './journal-format.ts'
import { SegmentScanner } from './journal-scan.ts'

/** `sequenceMin`: of the segment's groups. Undefined where there is no whole group with a batch. */
export function findSalt(
  disk: Disk,
  dir: string,
  logId: string,
  segment: number,
  sequenceMin: number,
): Uint8Array | undefined {
  const salt = new Uint8Array(SALT_BYTES)
  const scanner = new SegmentScanner(disk, dir, segment, logId, { logId, segment, salt })
  const bytesBySalt = new Map<string, number>()
  try {
    for (let at = scanner.find(GROUP_MAGIC, SEGMENT_HEADER); at >= 0; ) {
      salt.set(scanner.bytes(at + GROUP_SALT, SALT_BYTES))
      const isGroup = scanner.readGroup(at) && scanner.group.firstSequence >= sequenceMin
      const bytes = isGroup ? batchBytes(scanner) : 0
      const key = Buffer.from(salt).toString('hex')
      if (bytes > 0) bytesBySalt.set(key, (bytesBySalt.get(key) ?? 0) + bytes)
      // Past what was counted, imitations in it included.
      at = scanner.find(GROUP_MAGIC, at + 1 + bytes)
    }
  } finally {
    scanner.close()
  }
  const [most] = [...bytesBySalt].sort(([, a], [, b]) => b - a)
  return most && Buffer.from(most[0], 'hex')
}

function batchBytes({ group }: SegmentScanner): number {
  let bytes = 0
  while (group.next()) if (group.kind === ENTRY_BATCH || group.kind === ENTRY_MOVED) bytes += group.batchBytes
  return bytes
}
