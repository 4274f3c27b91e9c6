// What a reviewer should not have to remember: the import arrows, unused exports, documents that drift,
// and traces of a machine in committed files.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { errorsMarkdown } from '../cli/config.ts'
import { configMarkdown } from '../config-text.ts'

const root = path.resolve(import.meta.dirname, '..')
const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && fs.existsSync(path.join(root, file)))
const sources = tracked.filter((file) => file.endsWith('.ts'))

const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8')

/** Folder (or root file) of each import of a file, relative to the repository. */
function importsOf(file: string): string[] {
  const found: string[] = []
  for (const match of read(file).matchAll(/(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g)) {
    found.push(path.normalize(path.join(path.dirname(file), match[1]!)))
  }
  // Worker entries are named by URL.
  for (const match of read(file).matchAll(/new URL\('(\.{1,2}\/[^']+\.ts)'/g)) {
    found.push(path.normalize(path.join(path.dirname(file), match[1]!)))
  }
  return found
}

const part = (file: string): string => (file.includes('/') ? file.split('/')[0]! : file)

/** What each part may import beside itself. Stages never import each other: they meet in log and schemas. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  std: [],
  schemas: ['std', 'log'],
  log: ['std'],
  identity: ['std', 'schemas', 'log'],
  ingest: ['std', 'schemas', 'log', 'identity'],
  kafka: ['std', 'schemas', 'log', 'identity'],
  normalize: ['std', 'schemas', 'log'],
  sink: ['std', 'schemas', 'log'],
  http: ['std', 'schemas', 'log'],
  'config-options.ts': [],
  'config-text.ts': ['config-options.ts'],
  'config.ts': ['config-options.ts', 'std'],
}

test('imports go down only, and stages never import each other', () => {
  const wrong: string[] = []
  for (const file of sources) {
    const from = part(file)
    const allowed = MAY_IMPORT[from]
    if (allowed === undefined || /\.(test|bench)\.ts$/.test(file)) continue
    for (const target of importsOf(file)) {
      const to = part(target)
      if (to !== from && !allowed.includes(to)) wrong.push(`${file} imports ${target}`)
    }
  }
  assert.deepEqual(wrong, [])
})

test('of schemas, only the registry knows the log', () => {
  const wrong = sources
    .filter(
      (file) => file.startsWith('schemas/') && !/^schemas\/registry/.test(file) && !file.endsWith('.test.ts'),
    )
    .filter((file) => importsOf(file).some((target) => target.startsWith('log/')))
  assert.deepEqual(wrong, [])
})

test('only stages.ts sees two stages', () => {
  const stages = new Set(['ingest', 'normalize', 'sink'])
  const wrong = sources.filter((file) => {
    if (file === 'stages.ts' || /^(cli|test|bench)\//.test(file) || /\.(test|bench)\.ts$/.test(file))
      return false
    return (
      new Set(
        importsOf(file)
          .map(part)
          .filter((name) => stages.has(name)),
      ).size > 1
    )
  })
  assert.deepEqual(wrong, [])
})

test('nothing imports the bench', () => {
  const wrong = sources.filter(
    (file) =>
      !file.startsWith('bench/') &&
      !/\.(bench|test)\.ts$/.test(file) &&
      importsOf(file).some((target) => target.startsWith('bench/')),
  )
  assert.deepEqual(wrong, [])
})

test('every export is used, and every dependency', () => {
  const result = spawnSync(process.execPath, ['node_modules/knip/bin/knip.js', '--no-progress'], {
    cwd: root,
    encoding: 'utf8',
  })
  assert.equal(result.status, 0, `${result.stdout}${result.stderr}`)
})

test('generated documents are what the code says', () => {
  assert.equal(read('docs/config.md'), configMarkdown(), 'docs/config.md: run `make docs`')
  assert.equal(read('docs/errors.md'), errorsMarkdown(), 'docs/errors.md: run `make docs`')
})

test('every link of the documents leads to a file', () => {
  const broken: string[] = []
  for (const file of tracked.filter((name) => name.endsWith('.md'))) {
    for (const match of read(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)) {
      if (!fs.existsSync(path.join(root, path.dirname(file), match[1]!))) broken.push(`${file}: ${match[1]}`)
    }
  }
  assert.deepEqual(broken, [])
})

test('the file map of docs/architecture.md names every folder of sources', () => {
  const text = read('docs/architecture.md')
  const folders = new Set(sources.filter((file) => file.includes('/')).map(part))
  assert.deepEqual(
    [...folders].filter((folder) => !text.includes(`${folder}/`)),
    [],
  )
})

test('the lockfile knows the packages of every platform', () => {
  // npm leaves out those of other platforms when it updates a lockfile beside a node_modules folder; `npm ci` then
  // refuses it on a fresh machine. `npm install --package-lock-only` in a folder without node_modules writes all.
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>
  }
  const missing = Object.values(packages).flatMap((one) =>
    Object.keys(one.optionalDependencies ?? {}).filter(
      (name) =>
        !Object.keys(packages).some(
          (key) => key.endsWith(`node_modules/${name}`) && packages[key]!.version !== undefined,
        ),
    ),
  )
  assert.deepEqual(missing, [])
})

test('no committed file holds a registry address or a path of a machine', () => {
  const wrong: string[] = []
  const patterns = [
    /registry\.npmjs/,
    /pypi\.org|files\.pythonhosted/,
    /repo1?\.maven/,
    new RegExp(`["' (]/${'work'}/`),
    new RegExp(`/${'root'}/`),
  ]
  for (const file of tracked) {
    if (/\.(png|hex|svg|avro|parquet)$/.test(file)) continue
    const text = read(file)
    for (const pattern of patterns) if (pattern.test(text)) wrong.push(`${file}: ${pattern}`)
  }
  assert.deepEqual(
    wrong.filter((line) => !line.startsWith('test/tidy.test.ts')),
    [],
  )
})
