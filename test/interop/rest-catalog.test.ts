// The REST client against the catalog server that the Iceberg project tests its own clients with.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { freeLocation } from '../../sink/catalog.ts'
import { catalogConformance } from '../../sink/catalog-conformance.ts'
import { RestCatalog } from '../../sink/catalog-rest.ts'
import { Names, systemClock } from '../../sink/file-names.ts'
import { LocalStore } from '../../sink/store.ts'
import { NodeDisk } from '../../std/disk.ts'
import { startRestCatalog } from './servers.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-rest-'))
let serial = 0
const store = new LocalStore(new NodeDisk())
const { url } = await startRestCatalog(test, { folder, warehouse: `file://${folder}/warehouse` })
test.after(() => fs.rmSync(folder, { recursive: true }))

async function open(credential?: string): Promise<RestCatalog> {
  const options = { uri: url, warehouse: undefined, token: undefined, credential, oauth2Uri: undefined }
  const free = (location: string): Promise<string> => freeLocation(store, location, new Names(systemClock))
  return new RestCatalog(
    'millrace',
    { ...options, scope: 'catalog', requestTimeoutMs: 30_000, freeLocation: free },
    systemClock,
  )
}

catalogConformance('reference server', async () => {
  const catalog = await open()
  return { catalog, namespace: `suite_${++serial}`, close: () => catalog.close() }
})

test('reference server: client credentials get a token that it takes', async () => {
  const catalog = await open('client:secret')
  await catalog.createNamespace('with_token')
  assert.ok((await catalog.listNamespaces()).includes('with_token'))
})
