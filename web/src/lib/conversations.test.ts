import { describe, expect, it } from 'vitest'
import {
  asJson,
  asMarkdown,
  branches,
  branching,
  newConversation,
  newestLeaf,
  path,
  requestBody,
  titleOf,
  wellFormed,
  type Message,
} from './conversations'

let clock = 0
function turn(id: string, parent: string | null, role: Message['role'], content = id): Message {
  return { id, conversation: 'c', parent, role, content, created: clock++ }
}
const map = (...turns: Message[]) => new Map(turns.map((each) => [each.id, each]))

describe('a conversation is a tree', () => {
  const turns = map(
    turn('q1', null, 'user'),
    turn('a1', 'q1', 'assistant'),
    turn('q2', 'a1', 'user'),
    turn('a2', 'q2', 'assistant'),
    turn('a1b', 'q1', 'assistant'),
    turn('q2b', 'a1b', 'user'),
  )

  it('of which a leaf names one path', () => {
    expect(path(turns, 'a2').map((each) => each.id)).toEqual(['q1', 'a1', 'q2', 'a2'])
    expect(path(turns, null)).toEqual([])
    expect(path(turns, 'gone')).toEqual([])
  })
  it('whose branches stand beside each other, oldest first', () => {
    const all = branching(turns)
    expect(branches(all, turns.get('a1b')!).map((each) => each.id)).toEqual(['a1', 'a1b'])
    expect(branches(all, turns.get('q2')!).map((each) => each.id)).toEqual(['q2'])
  })
  it('and a branch leads to its newest end', () => {
    expect(newestLeaf(turns, 'q1')).toBe('q2b')
    expect(newestLeaf(turns, 'a1')).toBe('a2')
  })
  it('in which two models side by side keep to their own answers', () => {
    const both = map(turn('q', null, 'user'), turn('a', 'q', 'assistant'), { ...turn('b', 'q', 'assistant'), beside: true })
    expect(branches(branching(both), both.get('a')!)).toHaveLength(1)
    expect([newestLeaf(both, 'q'), newestLeaf(both, 'q', true)]).toEqual(['a', 'b'])
  })
  it('in which a circle, which only damage could make, ends', () => {
    expect(path(map({ ...turn('x', 'y', 'user') }, { ...turn('y', 'x', 'user') }), 'x')).toHaveLength(2)
  })
})

describe('a request', () => {
  const conversation = { ...newConversation('ai/tiny'), system: 'Be brief.', parameters: { temperature: 0, seed: undefined } }

  it('has the system prompt first, the parameters that are set, and usage asked for', () => {
    const body = requestBody(conversation, [turn('hi', null, 'user')], 'ai/tiny')
    expect(body).toEqual({
      model: 'ai/tiny',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'hi' },
      ],
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    })
  })
  it('leaves out answers that failed, and what is not said aloud', () => {
    const failed = { ...turn('', 'q', 'assistant'), error: 'broken' }
    const thought = { ...turn('yes', 'q', 'assistant'), reasoning: 'hmm' }
    const { messages } = requestBody({ ...conversation, system: ' ' }, [failed, thought], 'm')
    expect(messages).toEqual([{ role: 'assistant', content: 'yes' }])
  })
  it('has pictures as data and the text of files in the text', () => {
    const attachments = [
      { name: 'a.png', type: 'image/png', size: 1, data: 'data:image/png;base64,AA==' },
      { name: 'b.txt', type: 'text/plain', size: 1, data: 'inside' },
    ]
    const { messages } = requestBody(conversation, [{ ...turn('look', null, 'user'), attachments }], 'm')
    expect((messages as { content: unknown }[])[1]!.content).toEqual([
      { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } },
      { type: 'text', text: 'b.txt:\n```\ninside\n```\n\nlook' },
    ])
  })
  it('never has half a character', () => {
    expect(wellFormed('a\ud83db\ude00c\ud83d\ude00')).toBe('a\ufffdb\ufffdc\ud83d\ude00')
  })
})

describe('an export', () => {
  it('as Markdown is what is shown', () => {
    const conversation = { ...newConversation('ai/tiny'), title: 'T' }
    const answer = { ...turn('yes', 'q', 'assistant'), model: 'ai/tiny', reasoning: 'one\ntwo' }
    expect(asMarkdown(conversation, [turn('is it?', null, 'user'), answer])).toBe(
      '# T\n\nModel: ai/tiny\n\n## You\n\nis it?\n\n## ai/tiny\n\n> one\n> two\n\nyes\n',
    )
  })
  it('as JSON is everything', () => {
    const parsed = JSON.parse(asJson(newConversation('m'), [turn('q', null, 'user')]))
    expect(parsed.format).toBe('modelrunner.chat/1')
    expect(parsed.messages).toHaveLength(1)
  })
})

it('a title is the first line, cut', () => {
  expect(titleOf('  One  two\nthree')).toBe('One two')
  expect(titleOf('x'.repeat(100))).toHaveLength(58)
  expect(titleOf(' \n ')).toBe('New chat')
})
