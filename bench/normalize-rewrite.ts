// Case: raw to normalized, a unit converted in every record
//
// Firmware 2.1.0 measures in degrees Fahrenheit: a rule in CEL converts the temperature of every record.
import { caseArguments, printResult } from './harness.ts'
import { type NormalizeCase, runNormalizeCase } from './normalize-case.ts'

export const definition: NormalizeCase = {
  name: 'normalize-rewrite',
  firmware: '2.1.0',
  counted: 'records_rewritten',
}

if (import.meta.main) {
  const args = caseArguments(2)
  printResult(await runNormalizeCase(definition, args), args)
}
