// Loaded into the real process by `--import` (NODE_OPTIONS) in tests: ends it by SIGKILL at one step of what it does to the
// files of a warehouse and to its catalog. MILLRACE_TEST_KILL_BELOW is the warehouse's folder, MILLRACE_TEST_KILL_STEPS a file that
// gets a line for each step, of all threads; the process is killed when it has as many lines as MILLRACE_TEST_KILL_AT
// says: before that step is done, or, where it writes, in the middle of it. The process itself knows nothing of it.
import fs from 'node:fs'
import path from 'node:path'
import { StatementSync } from 'node:sqlite'

const {
  MILLRACE_TEST_KILL_BELOW: below,
  MILLRACE_TEST_KILL_STEPS: steps,
  MILLRACE_TEST_KILL_AT: at,
} = process.env

/** Whether the step that is told is the last one. */
function isLast(step: string): boolean {
  const fd = originals.openSync(steps!, 'a+')
  originals.writeSync(fd, Buffer.from(`${step}\n`))
  originals.closeSync(fd)
  return fs.readFileSync(steps!, 'utf8').split('\n').length > Number(at)
}

function die(): void {
  process.kill(process.pid, 'SIGKILL')
}

const originals = { ...fs }

function hook(folder: string): void {
  const names = new Map<number, string>()
  /** `data/….parquet`, `metadata/….avro`: what kind of file it is, for whoever reads the steps. */
  const nameOf = (file: string): string => path.relative(folder, file)

  fs.openSync = (file, flags, mode) => {
    const isBelow = String(file).startsWith(folder)
    if (isBelow && flags === 'wx+' && isLast(`create ${nameOf(String(file))}`)) die()
    const fd = originals.openSync(file, flags, mode)
    if (isBelow) names.set(fd, nameOf(String(file)))
    return fd
  }
  fs.closeSync = (fd) => {
    names.delete(fd)
    originals.closeSync(fd)
  }
  fs.writeSync = ((fd: number, part: Uint8Array, offset: number, length: number, position: number) => {
    const name = names.get(fd)
    if (name !== undefined && isLast(`write ${name}`)) {
      originals.writeSync(fd, part, offset, length >> 1, position)
      die()
    }
    return originals.writeSync(fd, part, offset, length, position)
  }) as typeof fs.writeSync
  fs.writevSync = (fd, parts, position) => {
    const name = names.get(fd)
    if (name !== undefined && isLast(`write ${name}`)) {
      originals.writevSync(fd, parts.slice(0, parts.length >> 1), position)
      die()
    }
    return originals.writevSync(fd, parts, position)
  }
  fs.fdatasync = ((fd: number, callback: fs.NoParamCallback) => {
    const name = names.get(fd)
    if (name !== undefined && isLast(`sync ${name}`)) die()
    originals.fdatasync(fd, callback)
  }) as typeof fs.fdatasync
  fs.fsync = ((fd: number, callback: fs.NoParamCallback) => {
    const name = names.get(fd)
    if (name !== undefined && isLast(`sync ${name}`)) die()
    originals.fsync(fd, callback)
  }) as typeof fs.fsync
  fs.unlinkSync = (file) => {
    if (String(file).startsWith(folder) && isLast(`delete ${nameOf(String(file))}`)) die()
    originals.unlinkSync(file)
  }
  const { run } = StatementSync.prototype
  StatementSync.prototype.run = function (this: StatementSync, ...values: Parameters<typeof run>) {
    const isSwap = /^\s*UPDATE iceberg_tables/.test(this.sourceSQL)
    if (isSwap && isLast('swap')) die()
    const done = run.apply(this, values)
    if (isSwap && isLast('swapped')) die()
    return done
  } as typeof run
}

if (below !== undefined) hook(below)
