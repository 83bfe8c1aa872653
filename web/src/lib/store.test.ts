import 'fake-indexeddb/auto'
import { expect, it } from 'vitest'
import { newConversation, type Message } from './conversations'
import * as store from './store'

const turn = (id: string, conversation: string, content: string): Message => ({
  id,
  conversation,
  parent: null,
  role: 'user',
  content,
  created: 1,
})

it('conversations and their turns are kept, found by words, and removed together', async () => {
  const [a, b] = [newConversation('m', 1), { ...newConversation('m', 2), title: 'About pears' }]
  await store.put(a)
  await store.put(b)
  await store.putMessages([turn('1', a.id, 'Apples and PEARS'), turn('2', b.id, 'nothing')])

  expect((await store.conversations()).map((each) => each.id)).toEqual([b.id, a.id])
  expect(await store.search('pears')).toEqual(new Set([a.id, b.id]))
  expect(await store.search('apples pears')).toEqual(new Set([a.id]))
  await store.remove(a.id)
  expect(await store.messages(a.id)).toEqual([])
  expect(await store.conversation(a.id)).toBeUndefined()
  expect((await store.messages(b.id)).map((each) => each.id)).toEqual(['2'])
})

it('two pages that write turns lose nothing of each other', async () => {
  const it = newConversation('m')
  await Promise.all([store.putMessages([turn('x', it.id, 'one')]), store.putMessages([turn('y', it.id, 'two')])])

  expect(await store.messages(it.id)).toHaveLength(2)
})
