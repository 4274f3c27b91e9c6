// Renews what the documents say in figures, and the picture, from the stored results (results/):
// `./millrace bench docs [--check]`. Text outside of the markers (docs-blocks.ts) is not touched. With --check nothing
// is written, and the exit code is 1 where something would change.
import fs from 'node:fs'
import path from 'node:path'
import { benchArguments } from './arguments.ts'
import { DOCUMENTS, renew } from './docs-blocks.ts'
import type { Results } from './docs-text.ts'
import { readResults } from './harness.ts'
import { picture } from './report-picture.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const PICTURE = 'docs/performance.svg'

const { values: flags } = benchArguments({ check: { type: 'boolean', default: false } })
const all = readResults()
const results: Results = new Map(all.map((one) => [one.case, one]))
let changed = false

function write(file: string, text: string): void {
  const place = path.join(ROOT, file)
  const isSame = fs.existsSync(place) && fs.readFileSync(place, 'utf8') === text
  process.stdout.write(`${file}: ${isSame ? 'as it was' : flags.check ? 'would change' : 'renewed'}\n`)
  if (isSame) return
  changed = true
  if (!flags.check) fs.writeFileSync(place, text)
}

for (const file of DOCUMENTS)
  write(
    file,
    renew(fs.readFileSync(path.join(ROOT, file), 'utf8'), results, (block, reason) =>
      process.stdout.write(`${file}: ${block} is left as it is: ${reason}\n`),
    ),
  )
const drawn = picture(all)
if (drawn === undefined)
  process.stdout.write(`${PICTURE} is left as it is: not all of its cases have a result\n`)
else write(PICTURE, drawn)
if (flags.check && changed) process.exitCode = 1
