// Every request that the door answers, with the versions it knows: Kafka protocol guide, "The Messages"
// (https://kafka.apache.org/protocol). A version is listed when all that it adds is understood; clients choose the
// highest that both know. What is absent here is answered by ApiVersions' silence: no transactions, no
// consumer groups of KIP-848, no ACLs, no quotas.
import { CLUSTER_APIS } from './messages-cluster.ts'
import { GROUP_APIS } from './messages-groups.ts'
import { RECORD_APIS } from './messages-records.ts'
import type { ValueOf } from './wire.ts'

export const APIS = { ...RECORD_APIS, ...GROUP_APIS, ...CLUSTER_APIS } as const

export type ApiName = keyof typeof APIS
export type RequestOf<Name extends ApiName> = ValueOf<(typeof APIS)[Name]['request']>
export type ResponseOf<Name extends ApiName> = ValueOf<(typeof APIS)[Name]['response']>

export const API_BY_KEY: ReadonlyMap<number, ApiName> = new Map(
  (Object.keys(APIS) as ApiName[]).map((name) => [APIS[name].key, name]),
)
