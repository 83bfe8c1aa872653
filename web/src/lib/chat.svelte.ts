// The conversations as the pages see them, and the answers that are being written.
// An answer belongs to the app, not to a page, so it goes on while another page is shown.

import { said } from './api'
import {
  branches,
  branching,
  newConversation,
  newId,
  newestLeaf,
  path,
  requestBody,
  titleOf,
  type Attachment,
  type Branches,
  type Conversation,
  type Message,
} from './conversations'
import { refreshRunning } from './daemon.svelte'
import { generate, type Growing } from './generation'
import * as store from './store'

const SAVE_EVERY = 400

export type Side = 'main' | 'beside'

export const chats = $state({
  all: [] as Conversation[],
  known: false,
  open: null as Conversation | null,
  failure: '',
})
/** The turns of the open conversation; a new map for every change of what there is. */
export const turns = $state({ map: new Map<string, Message>() as Map<string, Message>, version: 0 })
/** What is being written now, by the turn's id, and the turns of which another page tells that it writes them. */
export const writing = $state({ by: {} as Record<string, Growing>, elsewhere: {} as Record<string, boolean> })
/** What is written and not sent yet, by conversation; without an id for the one that has not begun. */
export const unsent = $state({ texts: {} as Record<string, string>, files: {} as Record<string, Attachment[]> })
/** What is typed in place of turns of the user, by their ids, and the turn that waits for the focus. */
export const edits = $state({
  by: { main: {}, beside: {} } as Record<Side, Record<string, string>>,
  begun: null as string | null,
})

const stops = new Map<string, AbortController>()

export async function loadAll(): Promise<void> {
  try {
    chats.all = await store.conversations()
    chats.failure = ''
  } catch (error) {
    chats.failure = `conversations cannot be kept: ${said(error).message}`
  }
  chats.known = true
}

export async function open(id: string): Promise<boolean> {
  if (chats.open?.id === id) return true
  const [found, all] = await Promise.all([store.conversation(id), store.messages(id)])
  if (!found) return false
  chats.open = found
  turns.map = new Map(all.map((turn) => [turn.id, turn]))
  turns.version += 1
  return true
}

export function close(): void {
  chats.open = null
  turns.map = new Map()
  turns.version += 1
}

function leafOf(conversation: Conversation, side: Side): string | null {
  return side === 'main' ? conversation.leaf : (conversation.leafBeside ?? null)
}

export function shown(side: Side = 'main'): Message[] {
  void turns.version
  return chats.open ? path(turns.map, leafOf(chats.open, side)) : []
}

let known: { map: unknown; version: number; all: Branches } | undefined

/** The branches at a turn; all turns are looked through once for each change, not for each that is shown. */
export function branchesAt(turn: Message): readonly Message[] {
  if (known?.map !== turns.map || known.version !== turns.version) {
    known = { map: turns.map, version: turns.version, all: branching(turns.map) }
  }
  return branches(known.all, turn)
}

export async function save(conversation: Conversation): Promise<void> {
  const plain = $state.snapshot(conversation) as Conversation
  const at = chats.all.findIndex((each) => each.id === plain.id)
  if (at >= 0) chats.all[at] = plain
  else chats.all.unshift(plain)
  try {
    await store.put(plain)
    chats.failure = ''
  } catch (error) {
    chats.failure = `this conversation cannot be kept: ${said(error).message}`
  }
}

async function keep(...messages: Message[]): Promise<void> {
  try {
    await store.putMessages(messages.map((each) => $state.snapshot(each) as Message))
    chats.failure = ''
  } catch (error) {
    chats.failure = `this conversation cannot be kept: ${said(error).message}`
  }
}

function place(turn: Message): void {
  if (chats.open?.id !== turn.conversation) return
  turns.map.set(turn.id, turn)
  turns.version += 1
}

export async function begin(model: string, more: Partial<Conversation> = {}): Promise<Conversation> {
  const made = { ...newConversation(model), ...more }
  chats.open = made
  turns.map = new Map()
  turns.version += 1
  await save(made)
  return made
}

export async function remove(id: string): Promise<void> {
  for (const [turn, stop] of stops) if (turns.map.get(turn)?.conversation === id) stop.abort()
  await store.remove(id)
  chats.all = chats.all.filter((each) => each.id !== id)
  if (chats.open?.id === id) close()
}

/** Sends a turn of the user after another, and has every model of the conversation answer. */
export async function say(text: string, attachments: Attachment[], parent?: string | null): Promise<void> {
  const conversation = chats.open
  if (!conversation) return
  const sides: Side[] = conversation.beside ? ['main', 'beside'] : ['main']
  const asks = sides.map((side) => {
    const turn: Message = {
      id: newId(),
      conversation: conversation.id,
      parent: parent === undefined ? leafOf(conversation, side) : parent,
      role: 'user',
      content: text,
      created: Date.now(),
    }
    if (attachments.length) turn.attachments = attachments
    return { side, turn }
  })
  // Where both sides have come from the same turn, they share the next one too.
  const shared = asks.length === 2 && asks[0]!.turn.parent === asks[1]!.turn.parent
  if (shared) asks[1]!.turn = asks[0]!.turn
  if (!conversation.named && !turns.map.size) conversation.title = titleOf(text || attachments[0]?.name || '')
  conversation.updated = Date.now()
  for (const { turn } of asks) place(turn)
  await keep(...new Set(asks.map(({ turn }) => turn)))
  await Promise.all(asks.map(({ side, turn }) => answer(conversation, side, turn.id)))
}

/** Begins to edit a turn of the user, or goes on with that. */
export function edit(turn: Message, side: Side): void {
  edits.by[side][turn.id] ??= turn.content
  edits.begun = turn.id
}

/** Has a model answer a turn of the user, as a branch beside the answers that there are. */
export async function answer(conversation: Conversation, side: Side, after: string): Promise<void> {
  const model = side === 'beside' && conversation.beside ? conversation.beside : conversation.model
  const turn: Message = {
    id: newId(),
    conversation: conversation.id,
    parent: after,
    role: 'assistant',
    content: '',
    model,
    created: Date.now(),
    writing: true,
    request: newId(),
  }
  if (side === 'beside') turn.beside = true
  const body = requestBody(conversation, path(turns.map, after), model)
  if (side === 'main') conversation.leaf = turn.id
  else conversation.leafBeside = turn.id
  place(turn)
  writing.by[turn.id] = { content: '', reasoning: '' }
  const stop = new AbortController()
  stops.set(turn.id, stop)
  await Promise.all([keep(turn), save(conversation)])
  let saved = performance.now()
  let painted = 0
  const tell = (grown: Growing) => {
    take(turn, grown)
    const now = performance.now()
    if (now - painted > 30) {
      painted = now
      writing.by[turn.id] = { ...grown }
    }
    if (now - saved > SAVE_EVERY) {
      saved = now
      void keep(turn)
    }
  }
  try {
    take(turn, await generate(body, { signal: stop.signal, id: turn.request!, tell }))
    if (!turn.content && !turn.reasoning && turn.finish) turn.content = ''
  } catch (error) {
    if (stop.signal.aborted) turn.finish = 'stopped'
    else {
      const { message, hint } = said(error)
      turn.error = message
      if (hint) turn.hint = hint
    }
  }
  delete turn.writing
  delete writing.by[turn.id]
  stops.delete(turn.id)
  place({ ...turn })
  await keep(turn)
  refreshRunning().catch(() => undefined)
}

function take(turn: Message, grown: Growing): void {
  turn.content = grown.content || (grown.tools ? `\`\`\`json\n${grown.tools}\n\`\`\`` : '')
  if (grown.reasoning) turn.reasoning = grown.reasoning
  if (grown.usage) turn.usage = grown.usage
  if (grown.speed) turn.speed = grown.speed
  if (grown.first) turn.first = grown.first
  if (grown.finish) turn.finish = grown.finish
}

export function stop(): void {
  for (const [id, controller] of stops) if (turns.map.has(id)) controller.abort()
}

const here = $derived.by(() => {
  void turns.version
  return Object.keys(writing.by).some((id) => turns.map.has(id))
})
/** Whether an answer of the open conversation is being written; found out once for all that ask. */
export function isWriting(): boolean {
  return here
}

/** Shows another branch at a turn. */
export async function show(turn: Message, side: Side): Promise<void> {
  if (!chats.open) return
  const leaf = newestLeaf(turns.map, turn.id, side === 'beside')
  if (side === 'main') chats.open.leaf = leaf
  else chats.open.leafBeside = leaf
  await save(chats.open)
}

/** A conversation of its own that begins with the turns up to one. */
export async function branchOff(turn: Message): Promise<Conversation> {
  const from = chats.open!
  const kept = path(turns.map, turn.id).map((each) => $state.snapshot(each) as Message)
  const made = newConversation(turn.model ?? from.model)
  Object.assign(made, { title: `${from.title} (branch)`, named: true, system: from.system, parameters: { ...from.parameters } })
  let parent: string | null = null
  const copies = kept.map((each) => {
    const copy: Message = { ...each, id: newId(), conversation: made.id, parent }
    parent = copy.id
    return copy
  })
  made.leaf = parent
  await store.putMessages(copies)
  await save(made)
  return made
}

async function heard(change: store.Change): Promise<void> {
  if (change.removed) {
    chats.all = chats.all.filter((each) => each.id !== change.conversation)
    if (chats.open?.id === change.conversation) close()
    return
  }
  if (change.message) {
    if (chats.open?.id !== change.conversation || stops.has(change.message)) return
    const turn = await store.message(change.message)
    if (!turn) return
    writing.elsewhere[turn.id] = Boolean(turn.writing)
    place(turn)
    return
  }
  const found = await store.conversation(change.conversation)
  if (!found) return
  chats.all = [found, ...chats.all.filter((each) => each.id !== found.id)].sort((a, b) => b.updated - a.updated)
  if (chats.open?.id !== found.id) return
  chats.open = found
  const missing = (await store.messages(found.id)).filter((turn) => !turns.map.has(turn.id))
  for (const turn of missing) place(turn)
}

/** Hears other pages; and when this one goes, keeps what has come of its answers. */
export function listen(): () => void {
  const forget = store.onChange((change) => void heard(change))
  const leaving = () => {
    for (const id of stops.keys()) {
      const turn = turns.map.get(id)
      if (turn) void keep({ ...turn, writing: false, finish: turn.finish ?? 'stopped' })
    }
  }
  addEventListener('pagehide', leaving)
  return () => {
    forget()
    removeEventListener('pagehide', leaving)
  }
}
