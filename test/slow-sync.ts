// Loaded into the real process by `--import` (NODE_OPTIONS) in tests: fdatasync takes as long as the file named by
// MILLRACE_TEST_SLOW_SYNC says, in milliseconds; at once while it is not there. The process itself knows nothing of it.
import fs from 'node:fs'

const control = process.env['MILLRACE_TEST_SLOW_SYNC']
const fdatasync = fs.fdatasyncSync
const never = new Int32Array(new SharedArrayBuffer(4))

if (control !== undefined)
  fs.fdatasyncSync = (fd) => {
    fdatasync(fd)
    if (fs.existsSync(control)) Atomics.wait(never, 0, 0, Number(fs.readFileSync(control, 'utf8')))
  }
