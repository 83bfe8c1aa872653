// Streams of bytes as lines, and as server-sent events.

export async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      const seen = rest.length // without a line end; one line may be of many megabytes
      rest += value ? decoder.decode(value, { stream: true }) : decoder.decode()
      let start = 0
      for (let end = rest.indexOf('\n', seen); end >= 0; end = rest.indexOf('\n', start)) {
        yield rest.slice(start, end).replace(/\r$/, '')
        start = end + 1
      }
      rest = rest.slice(start)
      if (done) break
    }
    if (rest) yield rest
  } finally {
    reader.cancel().catch(() => undefined)
  }
}

export interface ServerEvent {
  event: string
  data: string
  id: string
}

/** Source: HTML Living Standard, 9.2.6, "Interpreting an event stream". */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  let event = ''
  let data: string[] = []
  let id = ''
  for await (const line of lines(body)) {
    if (line === '') {
      if (data.length) yield { event: event || 'message', data: data.join('\n'), id }
      event = ''
      data = []
      continue
    }
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') data.push(value)
    else if (field === 'event') event = value
    else if (field === 'id') id = value
  }
  if (data.length) yield { event: event || 'message', data: data.join('\n'), id }
}
