// A catalog pointer in memory for the simulation: a swap is atomic and durable by definition, and faults
// happen where a test asks for them.
import { MillraceError } from '../std/errors.ts'
import { type Pointers, printTableId, type TableId } from './catalog.ts'

/** What may go wrong with one swap. `ambiguous-*`: the answer is lost, after or before the deed. */
export type SwapFault = 'conflict' | 'ambiguous-done' | 'ambiguous-not-done'

export class MemoryPointers implements Pointers {
  readonly #tables = new Map<string, Map<string, string>>()
  /** Asked at each swap and insert; undefined lets it happen. */
  fault: (id: TableId) => SwapFault | undefined = () => undefined
  /** Called before each swap and insert, where a test lets another writer commit or the power fail. */
  beforeSwap: (id: TableId) => void | Promise<void> = () => {}

  async createNamespace(namespace: string): Promise<void> {
    if (!this.#tables.has(namespace)) this.#tables.set(namespace, new Map())
  }

  async dropNamespace(namespace: string): Promise<boolean> {
    return this.#tables.delete(namespace)
  }

  async listNamespaces(): Promise<string[]> {
    return [...this.#tables.keys()]
  }

  async listTables(namespace: string): Promise<string[]> {
    return [...(this.#tables.get(namespace)?.keys() ?? [])]
  }

  async get(id: TableId): Promise<string | undefined> {
    return this.#tables.get(id.namespace)?.get(id.name)
  }

  insert(id: TableId, location: string): Promise<boolean> {
    return this.#change(id, undefined, location)
  }

  swap(id: TableId, expected: string, next: string): Promise<boolean> {
    return this.#change(id, expected, next)
  }

  async #change(id: TableId, expected: string | undefined, next: string): Promise<boolean> {
    await this.beforeSwap(id)
    const fault = this.fault(id)
    if (fault === 'conflict') return false
    if (fault === 'ambiguous-not-done') throw new Error('the catalog did not answer')
    const tables = this.#tables.get(id.namespace)
    if (tables === undefined)
      throw new MillraceError('table_missing', `namespace ${id.namespace} does not exist`)
    if (tables.get(id.name) !== expected) return false
    tables.set(id.name, next)
    if (fault === 'ambiguous-done') throw new Error('the catalog did not answer')
    return true
  }

  async remove(id: TableId): Promise<boolean> {
    return this.#tables.get(id.namespace)?.delete(id.name) ?? false
  }

  async rename(from: TableId, to: TableId): Promise<boolean> {
    const location = await this.get(from)
    if (location === undefined) return false
    if ((await this.get(to)) !== undefined)
      throw new MillraceError('table_conflict', `table ${printTableId(to)} exists`)
    this.#tables.get(from.namespace)!.delete(from.name)
    await this.createNamespace(to.namespace)
    this.#tables.get(to.namespace)!.set(to.name, location)
    return true
  }

  async close(): Promise<void> {}
}
