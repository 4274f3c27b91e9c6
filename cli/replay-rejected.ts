// Asks a running Millrace to send rejected records through again, after a contract was fixed.
import { ERROR_CODES, type ErrorCode, EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { addressOf, count, parse } from './command.ts'

interface Report {
  found: number
  sent: number
  sentBefore: number
  rejectedAgain: number
  refused: Record<string, number>
  more: boolean
}

export const replayRejected: Command = {
  name: 'replay-rejected',
  summary: 'Send rejected records through again after a contract was fixed',
  help: `Usage: millrace replay-rejected STREAM [--code CODE] [--dry-run] [--http URL] [--json]

Reads the table of rejected records of a stream, and sends those that its contract accepts now to its raw topic, as if
they had just been received then: each once, whatever crashes and however often it is run. What normalize rejects
again is not sent before the contract is another one. Needs a running Millrace.

STREAM is tenant.stream, or the stream alone for the tenant \`default\`.

  --code CODE   only records that were rejected for this reason (column \`code\` of the table)
  --dry-run     count, and send nothing
  --http URL    Millrace's HTTP address [http://127.0.0.1:8080]
  --json        the account as one JSON object

Example: millrace query "SELECT code, reason, count(*) FROM telemetry_rejected GROUP BY ALL"
         millrace replay-rejected telemetry`,
  async run(args) {
    const { values, positionals } = parse(
      args,
      {
        code: { type: 'string' },
        'dry-run': { type: 'boolean' },
        http: { type: 'string', default: 'http://127.0.0.1:8080' },
        json: { type: 'boolean' },
      },
      1,
    )
    const [name] = positionals
    if (name === undefined)
      throw new MillraceError('option_invalid', 'name the stream: millrace replay-rejected STREAM')
    const server = addressOf('--http', values.http!, 'http')
    const dryRun = values['dry-run'] === true
    let report: Report
    let sent = 0
    do {
      report = await ask(server, name, { code: values.code, dryRun })
      sent += report.sent
      if (process.stderr.isTTY && report.more) process.stderr.write(`${count(sent)} sent…\n`)
      // A dry run would be told the same again.
    } while (report.more && !dryRun)
    // The last answer counts what those before have sent as sent before.
    const sentBefore = report.sentBefore - (sent - report.sent)
    const account = { ...report, sent, sentBefore }
    if (values.json === true) process.stdout.write(`${JSON.stringify(account)}\n`)
    else process.stdout.write(`${accountText(account, dryRun)}\n`)
    return EXIT.ok
  },
}

async function ask(
  url: string,
  name: string,
  options: { code: string | undefined; dryRun: boolean },
): Promise<Report> {
  const dot = name.indexOf('.')
  const [tenant, stream] = dot < 0 ? ['default', name] : [name.slice(0, dot), name.slice(dot + 1)]
  const query = new URLSearchParams({ dryRun: String(options.dryRun) })
  if (options.code !== undefined) query.set('code', options.code)
  const address = `${url}/v1/streams/${encodeURIComponent(tenant)}/${encodeURIComponent(stream)}/replay-rejected?${query}`
  let response: Response
  try {
    response = await fetch(address, { method: 'POST' })
  } catch (error) {
    throw new MillraceError('server_unreachable', `no Millrace answers at ${url}`, { url }, error)
  }
  const text = await response.text()
  if (response.ok) return JSON.parse(text) as Report
  const { code, message } = answerOf(text)
  if (response.status === 404) throw new MillraceError('option_invalid', message)
  throw new MillraceError(code in ERROR_CODES ? (code as ErrorCode) : 'server_unreachable', message)
}

function answerOf(text: string): { code: string; message: string } {
  try {
    return JSON.parse(text) as { code: string; message: string }
  } catch {
    return { code: '', message: text }
  }
}

function accountText(report: Report, dryRun: boolean): string {
  const refused = Object.entries(report.refused).map(([code, n]) => `${count(n)} ${code}`)
  return [
    `rejected records   ${count(report.found)}${report.more ? ' looked at so far' : ''}`,
    `${dryRun ? 'would be sent' : 'sent now'}`.padEnd(19) + count(report.sent),
    `sent before        ${count(report.sentBefore)}`,
    `rejected again     ${count(report.rejectedAgain)}${report.rejectedAgain > 0 ? ' by the contract as it is' : ''}`,
    `still refused      ${refused.length === 0 ? '0' : refused.join(', ')}`,
  ].join('\n')
}
