import { afterEach, describe, expect, it, vi } from 'vitest'
import { generate, grow, type Growing } from './generation'

const empty = (): Growing => ({ content: '', reasoning: '' })
const chunk = (delta: object, more: object = {}) => ({ choices: [{ delta, ...more }] })

describe('an answer grows', () => {
  it('by text, thoughts and calls', () => {
    const answer = empty()
    grow(answer, chunk({ reasoning_content: 'hm' }))
    grow(answer, chunk({ content: 'yes' }))
    grow(answer, chunk({ tool_calls: [{ function: { name: 'f', arguments: '{}' } }] }, { finish_reason: 'tool_calls' }))
    expect(answer).toMatchObject({ content: 'yes', reasoning: 'hm', tools: 'f{}', finish: 'tool_calls' })
  })
  it('and ends with figures', () => {
    const answer = empty()
    const usage = { prompt_tokens: 9, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 4 } }
    expect(grow(answer, { choices: [], usage, timings: { predicted_per_second: 50 } })).toBe(true)
    expect(answer).toMatchObject({ usage: { prompt: 9, completion: 3, cached: 4 }, speed: 50 })
  })
  it('unless an error comes instead', () => {
    expect(() => grow(empty(), { error: { message: 'gone', hint: 'again' } })).toThrow('gone')
  })
})

describe('a request', () => {
  afterEach(() => vi.unstubAllGlobals())
  const ask = (reply: Response | Error) => {
    vi.stubGlobal('fetch', () => (reply instanceof Error ? Promise.reject(reply) : Promise.resolve(reply)))
    let now = 0
    return generate({}, { signal: new AbortController().signal, id: 'x', tell: () => undefined, now: () => (now += 100) })
  }
  const said = (...words: string[]) => words.map((word) => `data: ${JSON.stringify(chunk({ content: word }))}\n\n`).join('')

  it('ends with the whole answer, and knows how fast it was', async () => {
    const answer = await ask(new Response(`${said('a', 'b', 'c')}data: [DONE]\n\n`))
    expect(answer.content).toBe('abc')
    expect(answer.first).toBe(100)
    expect(answer.speed).toBeGreaterThan(0)
  })
  it('that is refused says so in the words of the daemon', async () => {
    const refusal = new Response('{"error": {"message": "no such model", "hint": "pull it"}}', { status: 404 })
    await expect(ask(refusal)).rejects.toMatchObject({ message: 'no such model', hint: 'pull it', status: 404 })
  })
  it('to nobody says what to do', async () => {
    await expect(ask(new TypeError('failed'))).rejects.toMatchObject({ message: 'the daemon does not answer' })
  })
})
