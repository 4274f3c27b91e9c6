// A server that knows gateways: clients that publish for devices of their own, each by its credential.
import fs from 'node:fs'
import path from 'node:path'
import { hashPassword } from '../identity/identity-secret.ts'
import { ENVIRONMENT_CONTRACT } from './environment-stream.ts'

const PASSWORD = 'bench'

/** The login of each connection of the generator. */
export const GATEWAY_LOGIN = { username: 'default/{client}', password: PASSWORD } as const

/**
 * Options of `up` for gateways bench-0, bench-1, …, and for families of one stream each, of the fields of the
 * environment contract, beside `telemetry`.
 */
export async function gatewayArgs(
  folder: string,
  gateways: number,
  streams: readonly string[],
): Promise<string[]> {
  const environment = fs.readFileSync(ENVIRONMENT_CONTRACT, 'utf8')
  const contracts = path.join(folder, 'contracts')
  fs.mkdirSync(contracts)
  for (const name of streams)
    fs.writeFileSync(
      path.join(contracts, `${name}.yaml`),
      environment
        .replace('family: environment', `family: ${name}`)
        .replace(/^ {2}telemetry:$/m, `  ${name}:`),
    )
  const hash = await hashPassword(PASSWORD)
  const credentials = Array.from({ length: gateways }, (_, i) => ({
    tenant: 'default',
    gateway: `bench-${i}`,
    devices: [`bench-${i}-*`, `bench-${i}`],
    hash,
  }))
  const file = path.join(folder, 'credentials.yaml')
  // JSON is YAML.
  fs.writeFileSync(file, JSON.stringify({ credentials }))
  return ['--contracts', contracts, '--credentials', file]
}
