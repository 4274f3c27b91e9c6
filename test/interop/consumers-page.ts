// The programs and commands of docs/consumers.md, as they are written there but for the addresses.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'

const PAGE = fs.readFileSync(path.resolve(import.meta.dirname, '../../docs/consumers.md'), 'utf8')

/** Where the topics and the registry of the page are in a test. */
interface Addresses {
  kafkaPort: number
  http: string
}

/** The text with the test's addresses. */
export const here = (text: string, { kafkaPort, http }: Addresses): string =>
  text.replaceAll('127.0.0.1:9092', `127.0.0.1:${kafkaPort}`).replaceAll('http://127.0.0.1:8080', http)

/** The block of the page in that language that has `part` in it. */
export function block(language: string, part: string): string {
  const blocks = [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'))]
  const found = blocks.map((match) => match[1]!).find((text) => text.includes(part))
  assert.ok(found, `docs/consumers.md has no ${language} with ${part}`)
  return found
}
