// Pulls and pushes that the daemon does on its own account, whether a page watches or not.

import { ApiError, get, send } from './api'
import { daemon, refreshModels } from './daemon.svelte'
import { done, failed } from './toasts.svelte'

export interface Transfer {
  id: string
  kind: 'pull' | 'push'
  model: string
  /** Interrupted by the end of a daemon, the others by themselves. */
  state: 'running' | 'done' | 'failed' | 'cancelled' | 'interrupted'
  /** Bytes; the total is 0 until it is known. */
  done: number
  total: number
  message: string
  hint?: string
  began: string
  ended?: string
}

const QUICK = 500
const SLOW = 5000

export const transfers = $state({
  all: [] as Transfer[],
  /** Bytes per second, by transfer. */
  speed: {} as Record<string, number>,
  get active() {
    return this.all.filter((each) => each.state === 'running').length
  },
})

const seen = new Map<string, { at: number; done: number }>()
let timer: ReturnType<typeof setTimeout> | undefined

async function look(): Promise<void> {
  clearTimeout(timer)
  if (daemon.state !== 'down' && !document.hidden) {
    try {
      take(await get<Transfer[]>('/transfers'))
    } catch {
      // The daemon's state says it; this goes on when it is back.
    }
  }
  timer = setTimeout(look, transfers.active ? QUICK : SLOW)
}

function take(all: Transfer[]): void {
  const now = performance.now()
  for (const each of all) {
    const before = transfers.all.find((other) => other.id === each.id)
    if (before?.state === 'running' && each.state === 'done') {
      done(`${each.model}: ${each.kind === 'pull' ? 'pulled' : 'pushed'}`)
      refreshModels().catch(() => undefined)
    }
    if (before?.state === 'running' && each.state === 'failed') {
      failed(new ApiError(`${each.model}: ${each.message}`, 0, each.hint))
    }
    const last = seen.get(each.id)
    if (each.state === 'running' && last && now - last.at > 200) {
      const rate = (Math.max(0, each.done - last.done) * 1000) / (now - last.at)
      transfers.speed[each.id] = transfers.speed[each.id] ? transfers.speed[each.id]! * 0.7 + rate * 0.3 : rate
    }
    seen.set(each.id, { at: now, done: each.done })
  }
  transfers.all = all
}

export async function start(kind: 'pull' | 'push', model: string): Promise<void> {
  const made = await send<Transfer>('POST', '/transfers', { kind, model })
  transfers.all = [made, ...transfers.all.filter((each) => each.kind !== kind || each.model !== model)]
  void look()
}

/** Cancels one that runs, and forgets one that has ended. What has come stays, and is not fetched again. */
export async function drop(transfer: Transfer): Promise<void> {
  await send('DELETE', `/transfers/${transfer.id}`)
  await look()
}

export function watchTransfers(): () => void {
  void look()
  const back = () => {
    if (!document.hidden) void look()
  }
  document.addEventListener('visibilitychange', back)
  return () => {
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', back)
  }
}
