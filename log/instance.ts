// Who a process is across its restarts: a UUID in its data folder, which one process at a time holds.
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'

export function instanceOf(dataFolder: string): string {
  const file = path.join(dataFolder, 'instance')
  try {
    const text = fs.readFileSync(file, 'utf8').trim()
    if (/^[0-9a-f-]{36}$/.test(text)) return text
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const id = randomUUID()
  fs.writeFileSync(file, `${id}\n`)
  return id
}
