// The daemon's API: requests, and errors as sentences with a way out. It holds no state.

const ERRORS = 'application/vnd.modelrunner.error+json'

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly hint = '',
    readonly code = '',
  ) {
    super(message)
  }
}

/** Reads what an answer that is no success says, whichever of the daemon's forms it has. */
export async function errorOf(reply: Response): Promise<ApiError> {
  const text = await reply.text().catch(() => '')
  try {
    const found = JSON.parse(text)
    const error = found.error ?? found
    if (typeof error === 'string') return new ApiError(error, reply.status)
    if (error?.message) return new ApiError(error.message, reply.status, error.hint ?? '', error.code ?? '')
  } catch {
    // It is a line of text, with the hint below.
  }
  const [message = '', hint = ''] = text.trim().split('\n\nhint: ')
  return new ApiError(message || `the daemon answered with status ${reply.status}`, reply.status, hint)
}

export async function request(path: string, options: RequestInit = {}): Promise<Response> {
  const headers = new Headers(options.headers)
  if (!headers.has('accept')) headers.set('accept', `application/json, ${ERRORS}`)
  let reply: Response
  try {
    reply = await fetch(path, { ...options, headers })
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw new ApiError('the daemon does not answer', 0, 'start it with `dmr serve`; this page goes on by itself then')
  }
  if (!reply.ok) throw await errorOf(reply)
  return reply
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await request(path, { signal })).json()
}

export async function send<T = unknown>(method: string, path: string, body?: unknown): Promise<T> {
  const reply = await request(path, {
    method,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  })
  const text = await reply.text()
  try {
    return JSON.parse(text)
  } catch {
    return text as T
  }
}

/** A name of a model in a path; the slashes in it are meant. */
export function namePath(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}

export function said(error: unknown): { message: string; hint: string } {
  if (error instanceof ApiError) return { message: error.message, hint: error.hint }
  return { message: error instanceof Error ? error.message : String(error), hint: '' }
}
