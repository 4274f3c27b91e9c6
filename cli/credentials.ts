// Makes the salted hash of a secret for the credentials file.
import { hashPassword } from '../identity/identity-secret.ts'
import { MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { parse } from './command.ts'

export const credentials: Command = {
  name: 'credentials',
  summary: 'Make a salted hash for the credentials file',
  help: `Usage: millrace credentials hash [--password TEXT]

Prints the hash of a secret (scrypt, own salt) for \`hash:\` in the credentials file. Without --password the secret is
read from standard input, so that it does not show in the list of processes. Example of a file:

  credentials:
    - tenant: acme
      device: boiler-7
      hash: $scrypt$ln=14,r=8,p=1$…
    - tenant: acme
      gateway: hall-2
      devices: [hall-2-*, meter.17]
      hash: $scrypt$…

The user name of CONNECT is TENANT/DEVICE unless \`username\` gives another.`,
  async run(args) {
    const { values, positionals } = parse(args, { password: { type: 'string' } }, 1)
    if (positionals[0] !== 'hash')
      throw new MillraceError(
        'option_invalid',
        `read ${JSON.stringify(positionals[0] ?? '')}, expected: millrace credentials hash`,
      )
    const secret = values.password ?? (await readStdin()).replace(/\r?\n$/, '')
    if (secret === '') throw new MillraceError('option_invalid', 'the secret is empty')
    process.stdout.write(`${await hashPassword(secret)}\n`)
    return 0
  },
}

async function readStdin(): Promise<string> {
  let text = ''
  for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk as string
  return text
}
