// One streamed chat completion, as it grows. Nothing of the page is known here.

import { errorOf, ApiError } from './api'
import type { Usage } from './conversations'
import { events } from './lines'

export interface Growing {
  content: string
  reasoning: string
  usage?: Usage
  speed?: number
  first?: number
  finish?: string
  tools?: string
}

interface Chunk {
  choices?: {
    delta?: {
      content?: string | null
      reasoning_content?: string | null
      reasoning?: string | null
      tool_calls?: { index?: number; function?: { name?: string; arguments?: string } }[]
    }
    finish_reason?: string | null
  }[]
  usage?: { prompt_tokens?: number; completion_tokens?: number; prompt_tokens_details?: { cached_tokens?: number } }
  timings?: { predicted_per_second?: number; prompt_ms?: number }
  error?: { message?: string; code?: string | number; hint?: string }
}

/** Takes one chunk in; whether anything that is shown has changed. */
export function grow(answer: Growing, chunk: Chunk): boolean {
  if (chunk.error) {
    throw new ApiError(chunk.error.message ?? 'the engine failed', 0, chunk.error.hint, String(chunk.error.code ?? ''))
  }
  const choice = chunk.choices?.[0]
  const delta = choice?.delta
  const text = delta?.content ?? ''
  const thought = delta?.reasoning_content ?? delta?.reasoning ?? ''
  answer.content += text
  answer.reasoning += thought
  for (const call of delta?.tool_calls ?? []) {
    answer.tools = (answer.tools ?? '') + (call.function?.name ?? '') + (call.function?.arguments ?? '')
  }
  if (choice?.finish_reason) answer.finish = choice.finish_reason
  if (chunk.usage) {
    answer.usage = { prompt: chunk.usage.prompt_tokens ?? 0, completion: chunk.usage.completion_tokens ?? 0 }
    const cached = chunk.usage.prompt_tokens_details?.cached_tokens
    if (cached) answer.usage.cached = cached
  }
  if (chunk.timings?.predicted_per_second) answer.speed = chunk.timings.predicted_per_second
  return Boolean(text || thought || choice?.finish_reason || chunk.usage)
}

/** Asks, and tells of every change; ends with the answer, or throws what went wrong. */
export async function generate(
  body: unknown,
  options: { signal: AbortSignal; id: string; tell: (answer: Growing) => void; now?: () => number },
): Promise<Growing> {
  const now = options.now ?? (() => performance.now())
  const asked = now()
  const answer: Growing = { content: '', reasoning: '' }
  let reply: Response
  try {
    reply = await fetch('/engines/v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': options.id },
      body: JSON.stringify(body),
      signal: options.signal,
    })
  } catch (error) {
    if (options.signal.aborted) throw error
    throw new ApiError('the daemon does not answer', 0, 'start it with `dmr serve`, then send this again')
  }
  if (!reply.ok) throw await errorOf(reply)
  let began: number | undefined
  let pieces = 0
  try {
    for await (const { data } of events(reply.body!)) {
      if (data === '[DONE]') continue // and read to the end, or the connection would look broken off
      if (!grow(answer, JSON.parse(data))) continue
      if (began === undefined && (answer.content || answer.reasoning)) {
        began = now()
        answer.first = began - asked
      }
      pieces += 1
      if (began !== undefined && answer.speed === undefined && pieces > 2) {
        // Until the engine says itself; a chunk is about a token.
        options.tell({ ...answer, speed: ((pieces - 1) * 1000) / Math.max(1, now() - began) })
      } else options.tell(answer)
    }
  } catch (error) {
    if (options.signal.aborted || error instanceof ApiError) throw error
    throw new ApiError('the connection to the daemon broke', 0, 'what had come is kept; regenerate to try again')
  }
  const took = now() - (began ?? asked)
  const count = answer.usage?.completion ?? pieces
  if (answer.speed === undefined && began !== undefined && count > 1) {
    answer.speed = ((count - 1) * 1000) / Math.max(1, took)
  }
  options.tell(answer)
  return answer
}
