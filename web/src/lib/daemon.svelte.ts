// What the app knows of the daemon: whether it answers, its models, what is loaded, and what happened last.
// One stream of events keeps it fresh while the page is seen; a browser has few connections to a host.

import { get, request, said } from './api'
import { events } from './lines'
import type { DaemonEvent, Model, Running, Waiting } from './types'

const RETRY = [500, 1000, 2000]
const REFRESH = 4000

export const daemon = $state({
  state: 'connecting' as 'connecting' | 'up' | 'down',
  version: '',
  models: [] as Model[],
  modelsKnown: false,
  running: [] as Running[],
  queue: [] as Waiting[],
  events: [] as DaemonEvent[],
})

const MOST_EVENTS = 1000 // as many as the daemon remembers

/** What tells an event from all others: the numbers begin again with each life of a daemon. */
export const nameOf = (event: DaemonEvent): string => `${event.id} ${event.at}`

export async function refreshModels(): Promise<void> {
  daemon.models = await get<Model[]>('/models?brief=true')
  daemon.modelsKnown = true
}

export async function refreshRunning(): Promise<void> {
  const [running, queue] = await Promise.all([get<Running[]>('/engines/ps'), get<Waiting[]>('/engines/queue')])
  daemon.running = running
  daemon.queue = queue
}

export async function refresh(): Promise<void> {
  await Promise.all([refreshModels(), refreshRunning()])
}

/** What the daemon takes a name for that leaves out the organisation or the tag. */
function inFull(name: string): string {
  const owned = name.includes('/') ? name : `ai/${name}`
  return /:[^/]+$/.test(owned) ? owned : `${owned}:latest`
}

export function modelNamed(name: string): Model | undefined {
  return daemon.models.find((model) => model.id === name || model.tags?.some((tag) => tag === name || tag === inFull(name)))
}

export function runningNamed(name: string): Running | undefined {
  return daemon.running.find((row) => inFull(row.model_name) === inFull(name))
}

/** The names of all models, those first that are loaded. */
export function modelNames(): string[] {
  const loaded = new Set(daemon.running.map((row) => row.model_name))
  const names = daemon.models.map((model) => model.tags?.[0] ?? model.id)
  return names.sort((a, b) => Number(loaded.has(b)) - Number(loaded.has(a)) || a.localeCompare(b))
}

async function follow(signal: AbortSignal, again: () => void): Promise<void> {
  // All that are remembered, also after a number: that would be one of a daemon that may be gone.
  const reply = await request('/engines/events?follow=true', { signal, headers: { accept: 'text/event-stream' } })
  daemon.version = (await get<{ version: string }>('/version', signal)).version
  await refresh()
  daemon.state = 'up'
  again()
  const told = new Set(daemon.events.map(nameOf))
  for await (const { event, data } of events(reply.body!)) {
    if (event === 'end') return
    if (event !== 'message') continue
    const found = JSON.parse(data) as DaemonEvent
    if (told.has(nameOf(found))) continue
    told.add(nameOf(found))
    daemon.events.push(found)
    if (daemon.events.length > MOST_EVENTS) daemon.events.splice(0, daemon.events.length - MOST_EVENTS)
    soon()
  }
}

let due: ReturnType<typeof setTimeout> | undefined
function soon(): void {
  due ??= setTimeout(() => {
    due = undefined
    refreshRunning().catch(() => undefined)
  }, 60)
}

/** Watches the daemon for as long as the app lives; connects again when it comes back. */
export function watch(): () => void {
  let stop = new AbortController()
  let ended = false

  const run = async (own: AbortController) => {
    for (let failures = 0; !own.signal.aborted; ) {
      try {
        await follow(own.signal, () => {
          failures = 0
        })
      } catch (error) {
        if (own.signal.aborted) return
        if (said(error).message) daemon.state = 'down'
      }
      if (own.signal.aborted) return
      daemon.state = 'down'
      await new Promise((done) => setTimeout(done, RETRY[Math.min(failures, RETRY.length - 1)]))
      failures += 1
    }
  }
  const seen = () => {
    stop.abort()
    if (document.hidden || ended) return
    stop = new AbortController()
    void run(stop)
  }
  const timer = setInterval(() => {
    if (!document.hidden && daemon.state === 'up') refresh().catch(() => undefined)
  }, REFRESH)
  document.addEventListener('visibilitychange', seen)
  seen()
  return () => {
    ended = true
    stop.abort()
    clearInterval(timer)
    document.removeEventListener('visibilitychange', seen)
  }
}
