// Case: raw to normalized, nothing to change: batches go on by reference
//
// Firmware 1.4.2, for which the environment contract has no rule: each record is scanned for event time, sequence and
// ranges, looked up in its device's window, and its batch passed on whole.
import { caseArguments, printResult } from './harness.ts'
import { type NormalizeCase, runNormalizeCase } from './normalize-case.ts'

export const definition: NormalizeCase = {
  name: 'normalize-pass',
  firmware: '1.4.2',
  counted: 'records_passed',
}

if (import.meta.main) {
  const args = caseArguments(2)
  printResult(await runNormalizeCase(definition, args), args)
}
