// @vitest-environment jsdom
import { describe, expect, it } from 'vitest'
import { errorOf, namePath } from './api'
import { daemon, modelNamed } from './daemon.svelte'
import { ago, bytes, plural, seconds, short, spaced, tokens } from './format'
import { add, matching, MOST, rowsOf, visible, type LogLine } from './logs'
import { marked, merge, phases, query, who, NO_FILTERS, type Recorded, type Summary } from './requests'
import { href, parse } from './router.svelte'

describe('numbers', () => {
  it('are read at a glance', () => {
    expect([bytes(0), bytes(999), bytes(1234), bytes(98_400_000), bytes(24e9)]).toEqual(['0 B', '999 B', '1.23 kB', '98.4 MB', '24.0 GB'])
    expect([seconds(0.0000123), seconds(0.0042), seconds(0.25), seconds(2.345), seconds(75), seconds(7300), seconds(2592000)]).toEqual([
      '12 µs',
      '4.2 ms',
      '250 ms',
      '2.35 s',
      '1 min 15 s',
      '2 h 2 min',
      '30 days',
    ])
    expect([tokens(8192), tokens(32768), tokens(131072), tokens(1048576), tokens(1e8)]).toEqual(['8,192', '32.8k', '131k', '1.0M', '100M'])
    expect([plural(1, 'line'), plural(2, 'line')]).toEqual(['1 line', '2 lines'])
    expect([ago(0, 1000), ago(0, 120_000), ago(0, 7_200_000)]).toEqual(['just now', '2 min ago', '2 h ago'])
    expect([short('ai/smollm2:latest'), short(`sha256:0123456789ab${'c'.repeat(52)}`)]).toEqual(['ai/smollm2', '0123456789ab'])
    expect([spaced('92.10MiB'), spaced('MOSTLY_Q4_1'), spaced(undefined)]).toEqual(['92.1 MiB', 'Q4_1', ''])
  })
})

describe('paths', () => {
  it('name pages and what they show, whatever a model is called', () => {
    expect(parse('/ui/models/ai/qwen2.5%3A0.5B')).toMatchObject({ page: 'models', rest: 'ai/qwen2.5:0.5B' })
    expect(parse('/ui/')).toMatchObject({ page: 'chat', rest: '' })
    expect(href('models', 'hf.co/a/b:Q4 K')).toBe('/ui/models/hf.co/a/b%3AQ4%20K')
    expect(namePath('a/b?c')).toBe('a/b%3Fc')
  })
})

describe('names of models', () => {
  it.each([
    ['ai/smollm2', 'a'],
    ['ai/smollm2:latest', 'a'],
    ['smollm2', 'a'],
    ['sha256:a', undefined],
    ['a', 'a'],
    ['localhost:5000/team/model', 'b'],
    ['localhost:5000/team/model:v2', undefined],
    ['nope', undefined],
  ])('as in %s lead to %s', (name, id) => {
    daemon.models = [
      { id: 'a', tags: ['ai/smollm2:latest'], created: 0, config: null },
      { id: 'b', tags: ['localhost:5000/team/model:latest'], created: 0, config: null },
    ]
    expect(modelNamed(name)?.id).toBe(id)
  })
})

describe('errors of the daemon', () => {
  it('have their words and the way out in every form', async () => {
    expect(await errorOf(new Response('gone\n\nhint: pull it\n', { status: 404 }))).toMatchObject({ message: 'gone', hint: 'pull it' })
    expect(await errorOf(new Response('{"error": "no"}', { status: 400 }))).toMatchObject({ message: 'no' })
    expect(await errorOf(new Response('', { status: 502 }))).toMatchObject({ message: 'the daemon answered with status 502' })
  })
})

describe('the log', () => {
  const line = (text: string, level: LogLine['level'] = 'info', number = 0): LogLine => ({ at: '', source: 'service', level, text, number })

  it('is searched by words and level', () => {
    const lines = [line('model ready model=a'), line('it failed', 'error'), line('detail', 'debug')]
    expect(matching(lines, 'debug', '')).toBe(lines)
    expect(matching(lines, 'info', 'READY model')).toEqual([lines[0]])
    expect(matching(lines, 'warning', '')).toEqual([lines[1]])
  })
  it('forgets the oldest, many at a time', () => {
    const full = Array.from({ length: MOST }, (_, number) => line('', 'info', number))
    const more = add(full, [line('', 'info', MOST)])
    expect(more.length).toBe(MOST - 2000)
    expect(more.at(-1)!.number).toBe(MOST)
  })
  it('shows what steers terminals and hides nothing', () => {
    expect(visible('\u001b[31mred\u001b[0m \u001b]0;title\u0007 \u202eback')).toBe('red \ufffd]0;title\ufffd \ufffdback')
  })
  it.each([
    ['', 1],
    ['x'.repeat(10), 1],
    ['x'.repeat(11), 2],
    ['one\n\nthree', 3],
    ['\u001b[31mred\u001b[0m and more', 2],
    ['日本語日本語', 2],
    ['\ta', 1],
  ])('knows how many rows %j takes', (text, rows) => expect(rowsOf(text, 10)).toBe(rows))
})

describe('requests', () => {
  const row = (id: number) => ({ id }) as Summary

  it('are each there once, newest first', () => {
    expect(merge([row(2), row(1)], [row(3), row(4)]).map((each) => each.id)).toEqual([4, 3, 2, 1])
    expect(merge([row(2)], [row(2), row(1)]).map((each) => each.id)).toEqual([2, 1])
  })
  it('are asked for by the filters that are set', () => {
    expect(query({ ...NO_FILTERS, q: ' a b ', outcome: 'failed' }, { limit: '9' })).toBe('q=a+b&outcome=failed&limit=9')
  })
  it('tell who asked', () => {
    expect([who('Mozilla'), who('Mozilla key:ab'), who('curl')]).toEqual(['browser', 'browser key:ab', 'curl'])
  })
  it('show what was found', () => {
    expect(marked('a \u2068word\u2069 b')).toEqual(['a ', 'word', ' b'])
  })
  it('have a timeline of the phases that came about', () => {
    const record = { timeline: { queued: 0, loading: 1, prompt: 1, tokens: 2, end: 0 } } as Recorded
    expect(phases(record)).toEqual([
      { name: 'load', seconds: 1, from: 0, share: 0.25 },
      { name: 'prompt', seconds: 1, from: 0.25, share: 0.25 },
      { name: 'tokens', seconds: 2, from: 0.5, share: 0.5 },
    ])
  })
  it('have no phase of tokens where the answer came at once', () => {
    const record = { timeline: { queued: 0, loading: 0, prompt: null, tokens: 2, end: 0 } } as Recorded
    expect(phases(record)).toEqual([{ name: 'answer', seconds: 2, from: 0, share: 1 }])
  })
})
