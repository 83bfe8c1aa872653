import { expect, it } from 'vitest'
import { events, lines } from './lines'

function body(...pieces: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(typeof piece === 'string' ? new TextEncoder().encode(piece) : piece)
      controller.close()
    },
  })
}
async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found = []
  for await (const each of source) found.push(each)
  return found
}

it('lines come whole, wherever the pieces break, characters too', async () => {
  const euro = new TextEncoder().encode('€')
  expect(await all(lines(body('a', 'b\r\nc', '\n\n', euro.slice(0, 1), euro.slice(1))))).toEqual(['ab', 'c', '', '€'])
})

it('events have their name, number and data; comments are none', async () => {
  const text = ': here\n\nid: 7\nevent: lost\ndata: {"a":1}\n\ndata: one\ndata:two\n\n'
  expect(await all(events(body(text)))).toEqual([
    { event: 'lost', data: '{"a":1}', id: '7' },
    { event: 'message', data: 'one\ntwo', id: '7' },
  ])
})

it('an event without the last line end counts', async () => {
  expect(await all(events(body('data: x')))).toEqual([{ event: 'message', data: 'x', id: '' }])
})
