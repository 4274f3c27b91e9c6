// Writes a page with plots of the newest result of each case (results/): `./millrace bench report [--out FILE]`
import fs from 'node:fs'
import path from 'node:path'
import { benchArguments } from './arguments.ts'
import { RESULTS, readResults } from './harness.ts'
import { page } from './report-page.ts'

const { values: flags } = benchArguments({
  out: { type: 'string', default: path.join(RESULTS, 'report.html') },
})

const results = readResults()
if (results.length === 0) {
  process.stderr.write('no results in bench/results: run `./millrace bench CASE` first\n')
  process.exit(1)
}
fs.mkdirSync(path.dirname(flags.out), { recursive: true })
fs.writeFileSync(flags.out, page(results))
process.stdout.write(`${flags.out}: ${results.length} results\n`)
