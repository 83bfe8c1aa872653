// A conversation as a tree of turns, of which one path is shown. Values only; `store` keeps them.

export interface Attachment {
  name: string
  type: string
  size: number
  /** A picture as data URL, or the text of a file. */
  data: string
}

export interface Usage {
  prompt: number
  completion: number
  /** Tokens of the prompt that the engine still had. */
  cached?: number
}

export interface Message {
  id: string
  conversation: string
  parent: string | null
  role: 'user' | 'assistant'
  content: string
  reasoning?: string
  attachments?: Attachment[]
  model?: string
  created: number
  usage?: Usage
  /** Tokens per second, and milliseconds to the first of them. */
  speed?: number
  first?: number
  finish?: string
  error?: string
  hint?: string
  request?: string
  /** Of the second of two models side by side; what both have said before belongs to both. */
  beside?: boolean
  /** It is being written by a page that lives. */
  writing?: boolean
}

export interface Parameters {
  temperature?: number
  top_p?: number
  max_tokens?: number
  seed?: number
}

export interface Conversation {
  id: string
  title: string
  /** Whether a person gave the title. */
  named?: boolean
  created: number
  updated: number
  model: string
  /** A second model that answers the same prompts beside the first. */
  beside?: string
  system: string
  parameters: Parameters
  /** The last turn of the path that is shown. */
  leaf: string | null
  /** The last turn of the second model's path. */
  leafBeside?: string | null
}

export type Turns = ReadonlyMap<string, Message>

export function newId(): string {
  const random = crypto.getRandomValues(new Uint8Array(12))
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export function newConversation(model: string, now = Date.now()): Conversation {
  return { id: newId(), title: 'New chat', created: now, updated: now, model, system: '', parameters: {}, leaf: null }
}

/** The turns from the first to a leaf. */
export function path(turns: Turns, leaf: string | null | undefined): Message[] {
  const found: Message[] = []
  const seen = new Set<string>()
  for (let id = leaf ?? null; id !== null && !seen.has(id); ) {
    const turn = turns.get(id)
    if (!turn) break
    seen.add(id)
    found.push(turn)
    id = turn.parent
  }
  return found.reverse()
}

export type Branches = ReadonlyMap<string, readonly Message[]>

const place = (turn: Message) => `${turn.parent ?? ''} ${turn.role} ${turn.beside ?? false}`

/** All turns by where they stand; those at one place are branches, oldest first. */
export function branching(turns: Turns): Branches {
  const found = new Map<string, Message[]>()
  for (const turn of turns.values()) {
    const there = found.get(place(turn))
    if (there) there.push(turn)
    else found.set(place(turn), [turn])
  }
  for (const there of found.values()) {
    if (there.length > 1) there.sort((a, b) => a.created - b.created || a.id.localeCompare(b.id))
  }
  return found
}

export function branches(all: Branches, turn: Message): readonly Message[] {
  return all.get(place(turn)) ?? [turn]
}

/** Where a branch leads to on one side: its newest turn, and the newest after that. */
export function newestLeaf(turns: Turns, from: string, beside = false): string {
  const children = new Map<string, Message[]>()
  for (const turn of turns.values()) {
    if (turn.parent === null || (turn.role === 'assistant' && (turn.beside ?? false) !== beside)) continue
    const list = children.get(turn.parent)
    if (list) list.push(turn)
    else children.set(turn.parent, [turn])
  }
  let id = from
  for (;;) {
    const next = children.get(id)
    if (!next?.length) return id
    id = next.reduce((a, b) => (b.created >= a.created ? b : a)).id
  }
}

export function titleOf(text: string): string {
  const line = text.trim().split('\n')[0]!.replace(/\s+/g, ' ').trim()
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line || 'New chat'
}

/** The body of the request by which a conversation goes on after a path. */
export function requestBody(conversation: Conversation, turns: Message[], model: string): Record<string, unknown> {
  const messages: Record<string, unknown>[] = []
  if (conversation.system.trim()) messages.push({ role: 'system', content: conversation.system })
  for (const turn of turns) {
    if (turn.role === 'assistant' && !turn.content && (turn.error || turn.writing)) continue
    messages.push({ role: turn.role, content: turn.role === 'user' ? contentOf(turn) : turn.content })
  }
  const parameters = Object.fromEntries(Object.entries(conversation.parameters).filter(([, value]) => value != null))
  return { model, messages, ...parameters, stream: true, stream_options: { include_usage: true } }
}

function contentOf(turn: Message): unknown {
  const files = turn.attachments ?? []
  if (!files.length) return wellFormed(turn.content)
  const texts = files.filter((file) => !isPicture(file))
  const text = wellFormed([...texts.map((file) => `${file.name}:\n\`\`\`\n${file.data}\n\`\`\``), turn.content].join('\n\n'))
  const pictures = files.filter(isPicture)
  if (!pictures.length) return text
  return [
    ...pictures.map((file) => ({ type: 'image_url', image_url: { url: file.data } })),
    { type: 'text', text },
  ]
}

export function isPicture(file: Attachment): boolean {
  return file.type.startsWith('image/')
}

/** Text without halves of characters, which no JSON parser of other languages takes. */
export function wellFormed(text: string): string {
  return text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, '\uFFFD')
}

export function asMarkdown(conversation: Conversation, turns: Message[]): string {
  const parts = [`# ${conversation.title}`, `Model: ${conversation.model}`]
  if (conversation.system.trim()) parts.push(`System: ${conversation.system}`)
  for (const turn of turns) {
    parts.push(`## ${turn.role === 'user' ? 'You' : turn.model || 'Model'}`)
    if (turn.reasoning) parts.push(turn.reasoning.replace(/^/gm, '> '))
    if (turn.content) parts.push(turn.content)
    for (const file of turn.attachments ?? []) parts.push(`_Attached: ${file.name}_`)
    if (turn.error) parts.push(`_Error: ${turn.error}_`)
  }
  return `${parts.join('\n\n')}\n`
}

/** Everything, with all branches, to be read back or by other programs. */
export function asJson(conversation: Conversation, turns: Iterable<Message>): string {
  return `${JSON.stringify({ format: 'modelrunner.chat/1', conversation, messages: [...turns] }, null, 2)}\n`
}
