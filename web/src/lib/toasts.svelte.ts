// Short words about what was done or went wrong, for every page.

import { said } from './api'

export interface Toast {
  id: number
  kind: 'done' | 'failed'
  message: string
  hint: string
}

export const toasts = $state({ all: [] as Toast[] })
let next = 1

function show(kind: Toast['kind'], message: string, hint: string, stays: number): void {
  const id = next++
  toasts.all.push({ id, kind, message, hint })
  if (toasts.all.length > 4) toasts.all.shift()
  setTimeout(() => dismiss(id), stays)
}

export function dismiss(id: number): void {
  toasts.all = toasts.all.filter((toast) => toast.id !== id)
}

export function done(message: string): void {
  show('done', message, '', 4000)
}

export function failed(error: unknown): void {
  const { message, hint } = said(error)
  show('failed', message, hint, 12_000)
}

/** Does something, and says what came of it; whether it worked. */
export async function attempt(work: () => Promise<unknown>, success = ''): Promise<boolean> {
  try {
    await work()
    if (success) done(success)
    return true
  } catch (error) {
    failed(error)
    return false
  }
}
