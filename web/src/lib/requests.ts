// Recorded requests: their shapes (see docs/reference/inspector.md), filters, and what a page shows of them.

export interface Summary {
  id: number
  request_id: string
  at: string
  model: string
  backend: string
  mode: string
  dialect: string
  method: string
  path: string
  caller: string
  user_agent: string
  streamed: boolean
  status: number
  outcome: 'ok' | 'failed' | 'cancelled'
  error: string | null
  prompt: string
  answer: string
  found?: string
  prompt_tokens: number | null
  cached_tokens: number | null
  completion_tokens: number | null
  reasoning_tokens: number | null
  tokens_per_second: number | null
  prompt_per_second: number | null
  context_used: number | null
  context_size: number | null
  first_token: number | null
  seconds: number
  finish_reason: string | null
  tool_calls: number
  replay_of: number | null
}

export interface Recorded extends Summary {
  timeline: { queued: number; loading: number; prompt: number | null; tokens: number | null; end: number }
  parameters: Record<string, unknown>
  messages: { role: string; text: string; media: Media[]; tool_calls?: Call[] }[]
  reasoning: string
  calls: Call[]
  media: Media[]
  request: string
  response: string | null
  redacted: number
  cut: boolean
}

export interface Media {
  type: string
  size: number
  digest: string
}

export interface Call {
  id: string
  name: string
  arguments: string
}

export interface Line {
  kind: 'same' | 'removed' | 'added'
  text: string
}

export interface Different {
  name: string
  a: unknown
  b: unknown
}

export interface Diff {
  a: Summary
  b: Summary
  values: Different[]
  parameters: Different[]
  prompt: Line[]
  reasoning: Line[]
  answer: Line[]
}

export interface Filters {
  q: string
  model: string
  outcome: string
  dialect: string
  since: string
  slower: string
}

export const NO_FILTERS: Filters = { q: '', model: '', outcome: '', dialect: '', since: '', slower: '' }

export function query(filters: Filters, more: Record<string, string> = {}): string {
  const given = Object.entries({ ...filters, ...more }).filter(([, value]) => value.trim())
  return new URLSearchParams(given.map(([name, value]) => [name, value.trim()])).toString()
}

/** Puts requests that have just ended before those that are shown; each is there once, newest first. */
export function merge(rows: Summary[], more: Summary[]): Summary[] {
  if (!more.length) return rows
  const newest = rows[0]?.id ?? 0
  const fresh = more.filter((row) => row.id > newest).sort((a, b) => b.id - a.id)
  if (fresh.length === more.length) return [...fresh, ...rows]
  const all = new Map([...rows, ...more].map((row) => [row.id, row]))
  return [...all.values()].sort((a, b) => b.id - a.id)
}

/** What a search found, in pieces of which every second one is a match. */
export function marked(text: string): string[] {
  return text.split(/[\u2068\u2069]/)
}

/** Who asked, as people say it: every browser calls itself by the name of one that is gone. */
export function who(caller: string): string {
  return caller.replace(/^Mozilla\b/, 'browser')
}

export interface Phase {
  name: string
  seconds: number
  /** From 0 to 1, of the whole. */
  from: number
  share: number
}

export function phases(record: Recorded): Phase[] {
  const { queued, loading, prompt, tokens, end } = record.timeline
  const all: [string, number | null][] = [
    ['queued', queued],
    ['load', loading],
    ['prompt', prompt],
    [prompt === null ? 'answer' : 'tokens', tokens], // it came at once, and may have had none
    ['end', end],
  ]
  const whole = Math.max(
    1e-9,
    all.reduce((sum, [, seconds]) => sum + (seconds ?? 0), 0),
  )
  let from = 0
  return all.flatMap(([name, seconds]) => {
    if (!seconds) return []
    const phase = { name, seconds, from, share: seconds / whole }
    from += phase.share
    return [phase]
  })
}

export function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2)
  } catch {
    return json
  }
}
