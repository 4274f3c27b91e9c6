// Topic filters and topic names of MQTT (5.0 section 4.7) as text: permissions are written in them, whichever door
// they are asked at.

/** Levels a topic or filter may have; bounds the recursion of a match. */
export const TOPIC_LEVELS_MAX = 32

/** Whether `filter` is a Topic Filter by section 4.7.1, with no more levels than we walk. */
export function isValidFilter(filter: string): boolean {
  if (filter.length === 0 || filter.includes('\0')) return false
  const levels = filter.split('/')
  if (levels.length > TOPIC_LEVELS_MAX) return false
  for (let i = 0; i < levels.length; i++) {
    const level = levels[i]!
    if (level === '#' ? i !== levels.length - 1 : level !== '+' && /[#+]/.test(level)) return false
  }
  return true
}

/** Whether `topic` is a Topic Name by section 4.7.1: not empty, no wildcard, no U+0000. */
export function isValidTopic(topic: string): boolean {
  return topic.length > 0 && !/[#+\0]/.test(topic) && topic.split('/').length <= TOPIC_LEVELS_MAX
}

/** Whether every topic that `filter` matches is matched by `allowed` too: what a permission to subscribe means. */
export function filterCovers(allowed: string, filter: string): boolean {
  const a = allowed.split('/')
  const f = filter.split('/')
  // A leading wildcard never matches `$…`, so it covers no filter that names such a topic.
  if (f[0]!.startsWith('$') && (a[0] === '+' || a[0] === '#')) return false
  for (let i = 0; i < a.length; i++) {
    if (a[i] === '#') return true
    if (i >= f.length || f[i] === '#') return false
    if (a[i] !== '+' && a[i] !== f[i]) return false
  }
  return f.length === a.length
}
