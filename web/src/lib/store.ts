// Conversations in the browser's own database: they outlive the daemon, and no other program reads them.
// Each turn is a record of its own, so that two pages that write at once lose nothing of each other.

import type { Conversation, Message } from './conversations'

const NAME = 'modelrunner'
const VERSION = 1

export interface Change {
  conversation: string
  /** A turn that changed; without one the conversation itself did. */
  message?: string
  removed?: boolean
}

let opened: Promise<IDBDatabase> | undefined

function open(): Promise<IDBDatabase> {
  opened ??= new Promise<IDBDatabase>((done, failed) => {
    const asked = indexedDB.open(NAME, VERSION)
    asked.onupgradeneeded = () => {
      const database = asked.result
      database.createObjectStore('conversations', { keyPath: 'id' })
      database.createObjectStore('messages', { keyPath: 'id' }).createIndex('conversation', 'conversation')
    }
    asked.onsuccess = () => {
      asked.result.onversionchange = () => {
        asked.result.close()
        opened = undefined
      }
      done(asked.result)
    }
    asked.onerror = () => failed(asked.error)
    asked.onblocked = () => failed(new Error('another page of an older version holds the conversations; close it'))
  })
  opened.catch(() => {
    opened = undefined
  })
  return opened
}

function answered<T>(asked: IDBRequest<T>): Promise<T> {
  return new Promise((done, failed) => {
    asked.onsuccess = () => done(asked.result)
    asked.onerror = () => failed(asked.error)
  })
}

async function change(stores: string[], work: (transaction: IDBTransaction) => void): Promise<void> {
  const transaction = (await open()).transaction(stores, 'readwrite')
  work(transaction)
  await new Promise<void>((done, failed) => {
    transaction.oncomplete = () => done()
    transaction.onerror = () => failed(transaction.error)
    transaction.onabort = () => failed(transaction.error ?? new Error('the browser has no room for conversations'))
  })
}

const channel = typeof BroadcastChannel === 'undefined' ? undefined : new BroadcastChannel('modelrunner-conversations')

/** Hear what other pages change. */
export function onChange(hear: (change: Change) => void): () => void {
  const heard = (event: MessageEvent<Change>) => hear(event.data)
  channel?.addEventListener('message', heard)
  return () => channel?.removeEventListener('message', heard)
}

export async function conversations(): Promise<Conversation[]> {
  const all = (await open()).transaction('conversations').objectStore('conversations').getAll()
  const found = await answered<Conversation[]>(all)
  return found.sort((a, b) => b.updated - a.updated)
}

export async function conversation(id: string): Promise<Conversation | undefined> {
  return answered((await open()).transaction('conversations').objectStore('conversations').get(id))
}

export async function messages(id: string): Promise<Message[]> {
  const index = (await open()).transaction('messages').objectStore('messages').index('conversation')
  return answered<Message[]>(index.getAll(id))
}

export async function message(id: string): Promise<Message | undefined> {
  return answered((await open()).transaction('messages').objectStore('messages').get(id))
}

export async function put(conversation: Conversation): Promise<void> {
  await change(['conversations'], (it) => it.objectStore('conversations').put(conversation))
  channel?.postMessage({ conversation: conversation.id } satisfies Change)
}

export async function putMessages(turns: Message[]): Promise<void> {
  if (!turns.length) return
  await change(['messages'], (it) => turns.forEach((turn) => it.objectStore('messages').put(turn)))
  for (const turn of turns) {
    channel?.postMessage({ conversation: turn.conversation, message: turn.id } satisfies Change)
  }
}

export async function remove(id: string): Promise<void> {
  const keys = await answered(
    (await open()).transaction('messages').objectStore('messages').index('conversation').getAllKeys(id),
  )
  await change(['conversations', 'messages'], (it) => {
    it.objectStore('conversations').delete(id)
    for (const key of keys) it.objectStore('messages').delete(key)
  })
  channel?.postMessage({ conversation: id, removed: true } satisfies Change)
}

/** The conversations that have some words, in the title or in a turn; in no order. */
export async function search(words: string): Promise<Set<string>> {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const found = new Map<string, Set<string>>()
  const look = (id: string, text: string) => {
    for (const word of wanted) {
      if (!text.includes(word)) continue
      const have = found.get(id) ?? new Set()
      found.set(id, have.add(word))
    }
  }
  const transaction = (await open()).transaction(['conversations', 'messages'])
  const titles = await answered<Conversation[]>(transaction.objectStore('conversations').getAll())
  for (const each of titles) look(each.id, each.title.toLowerCase())
  await new Promise<void>((done, failed) => {
    const cursor = transaction.objectStore('messages').openCursor()
    cursor.onerror = () => failed(cursor.error)
    cursor.onsuccess = () => {
      const here = cursor.result
      if (!here) return done()
      const turn = here.value as Message
      look(turn.conversation, turn.content.toLowerCase())
      here.continue()
    }
  })
  return new Set([...found].filter(([, words]) => words.size === wanted.length).map(([id]) => id))
}
