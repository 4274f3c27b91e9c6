// The contracts of a process: those that ship, those of a folder the operator names, and those that were
// registered while it ran. Of one family the highest version is in force.
import fs from 'node:fs'
import path from 'node:path'
import { MillraceError } from '../std/errors.ts'
import { type Contract, compileContract, parseContract } from './contract.ts'

/** Reads every `*.yaml` and `*.yml` of the folders that exist. Errors: contract_invalid, naming file, line and field. */
export function readContracts(folders: readonly string[]): Contract[] {
  const contracts: Contract[] = []
  for (const folder of folders) {
    const names = fs.existsSync(folder) ? fs.readdirSync(folder).sort() : []
    for (const name of names) {
      if (!/\.ya?ml$/.test(name)) continue
      const file = path.join(folder, name)
      contracts.push(parseContract(fs.readFileSync(file, 'utf8'), file))
    }
  }
  return newestOfEachFamily(contracts)
}

/** Whether two documents say the same, however they are written. */
export function isSameContract(a: Contract, b: Contract): boolean {
  return JSON.stringify(compileContract(a)) === JSON.stringify(compileContract(b))
}

/** The contract of the highest version of each family; two documents of one version must say the same. */
export function newestOfEachFamily(contracts: readonly Contract[]): Contract[] {
  const newest = new Map<string, Contract>()
  for (const contract of contracts) {
    const key = `${contract.tenant}.${contract.family}`
    const other = newest.get(key)
    if (other !== undefined && other.version === contract.version && !isSameContract(contract, other))
      throw new MillraceError(
        'contract_invalid',
        `${contract.file}: family ${contract.family}, version ${contract.version} is in ${other.file} already; a changed contract needs a higher version`,
      )
    if (other === undefined || other.version < contract.version) newest.set(key, contract)
  }
  return [...newest.values()]
}

/**
 * Keeps a contract for the next start; durable when it returns. The name holds tenant, family and version, which are
 * valid names.
 */
export function keepContract(folder: string, contract: Contract, text: string): void {
  fs.mkdirSync(folder, { recursive: true })
  const file = path.join(folder, `${contract.tenant}.${contract.family}.${contract.version}.yaml`)
  const temporary = `${file}.tmp`
  const fd = fs.openSync(temporary, 'w')
  try {
    fs.writeSync(fd, text)
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
  fs.renameSync(temporary, file)
  const directory = fs.openSync(folder, 'r')
  try {
    fs.fsyncSync(directory)
  } finally {
    fs.closeSync(directory)
  }
}
