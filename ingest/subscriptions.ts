// The topic filters of one tenant, as a tree of levels (MQTT 5.0 section 4.7).
//
//   building/+/alerts        building ─ + ─ alerts        each node may hold subscribers of the filter that
//   building/#               building ─ #                 ends there; `+` and `#` are children of their own
//
// Every change raises `version`. Whoever remembers what a topic matched (a connection's topic cache) compares
// one number per message instead of walking the tree.

/** Subscription options of SUBSCRIBE (MQTT 5.0 section 3.8.3.1), the bits that matter for live delivery. */
export const OPTION_QOS = 0x03
export const OPTION_NO_LOCAL = 0x04
export const OPTION_RETAIN_AS_PUBLISHED = 0x08

class Node<S> {
  children: Map<string, Node<S>> | undefined
  /** Options by subscriber of the filter that ends here. */
  subscribers: Map<S, number> | undefined
}

export class SubscriptionTree<S> {
  /** Raised by every change of the tree. */
  version = 1
  /** (filter, subscriber) pairs held. */
  size = 0
  #root = new Node<S>()

  /** Adds or replaces a subscription; true when the subscriber did not hold this filter before. */
  subscribe(filter: string, subscriber: S, options: number): boolean {
    let node = this.#root
    for (const level of filter.split('/')) {
      node.children ??= new Map()
      let child = node.children.get(level)
      if (child === undefined) {
        child = new Node()
        node.children.set(level, child)
      }
      node = child
    }
    node.subscribers ??= new Map()
    const isNew = !node.subscribers.has(subscriber)
    node.subscribers.set(subscriber, options)
    if (isNew) this.size++
    this.version++
    return isNew
  }

  /** Removes a subscription; false when there was none. Branches that hold nothing any more are cut. */
  unsubscribe(filter: string, subscriber: S): boolean {
    const levels = filter.split('/')
    const path: Node<S>[] = [this.#root]
    for (const level of levels) {
      const next = path.at(-1)!.children?.get(level)
      if (next === undefined) return false
      path.push(next)
    }
    const leaf = path.at(-1)!
    if (leaf.subscribers === undefined || !leaf.subscribers.delete(subscriber)) return false
    if (leaf.subscribers.size === 0) leaf.subscribers = undefined
    for (let i = levels.length; i > 0; i--) {
      const node = path[i]!
      if (node.subscribers !== undefined || node.children !== undefined) break
      const parent = path[i - 1]!
      parent.children!.delete(levels[i - 1]!)
      if (parent.children!.size === 0) parent.children = undefined
    }
    this.size--
    this.version++
    return true
  }

  /**
   * Adds every subscriber whose filters match `topic` to `into`. Overlapping filters of one subscriber become
   * one delivery: the highest QoS, and No Local only where all of them say so.
   */
  match(topic: string, into: Map<S, number>): void {
    if (this.size === 0) return
    const levels = topic.split('/')
    // A filter that begins with a wildcard does not match topics that begin with `$` (section 4.7.2).
    this.#walk(this.#root, levels, 0, topic.startsWith('$'), into)
  }

  #walk(
    node: Node<S>,
    levels: readonly string[],
    depth: number,
    hidden: boolean,
    into: Map<S, number>,
  ): void {
    const children = node.children
    if (children === undefined) {
      if (depth === levels.length) collect(node, into)
      return
    }
    const wildcards = !(hidden && depth === 0)
    // `a/#` matches `a` itself too, so the multi-level child is looked at before the end is.
    const rest = wildcards ? children.get('#') : undefined
    if (rest !== undefined) collect(rest, into)
    if (depth === levels.length) {
      collect(node, into)
      return
    }
    const exact = children.get(levels[depth]!)
    if (exact !== undefined) this.#walk(exact, levels, depth + 1, hidden, into)
    const any = wildcards ? children.get('+') : undefined
    if (any !== undefined) this.#walk(any, levels, depth + 1, hidden, into)
  }
}

function collect<S>(node: Node<S>, into: Map<S, number>): void {
  if (node.subscribers === undefined) return
  for (const [subscriber, options] of node.subscribers) {
    const held = into.get(subscriber)
    into.set(subscriber, held === undefined ? options : mergeOptions(held, options))
  }
}

function mergeOptions(a: number, b: number): number {
  const qos = Math.max(a & OPTION_QOS, b & OPTION_QOS)
  return qos | (a & b & OPTION_NO_LOCAL) | ((a | b) & OPTION_RETAIN_AS_PUBLISHED)
}
