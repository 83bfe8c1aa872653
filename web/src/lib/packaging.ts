// A GGUF file of the browser's machine becomes a model of the daemon's: hashed here, sent once, made there.

import { ApiError, request, send } from './api'
import { lines } from './lines'

export interface Step {
  text: string
  /** From 0 to 1. */
  share: number
}

export interface Package {
  file: File
  name: string
  system?: string
  template?: string
  contextSize?: number
}

export async function make(wanted: Package, tell: (step: Step) => void, signal: AbortSignal): Promise<void> {
  const { file } = wanted
  const digest = await digestOf(file, (done) => tell({ text: 'Reading the file', share: done / file.size }), signal)
  const path = `/api/blobs/${digest}`
  const there = await fetch(path, { method: 'HEAD', signal }).catch(() => undefined)
  if (!there?.ok) await upload(path, file, (done) => tell({ text: 'Sending it', share: done / file.size }), signal)
  tell({ text: 'Making the model', share: 1 })
  const body: Record<string, unknown> = { model: wanted.name, files: { [file.name]: digest } }
  if (wanted.system?.trim()) body.system = wanted.system
  if (wanted.template?.trim()) body.template = wanted.template
  if (wanted.contextSize) body.parameters = { num_ctx: wanted.contextSize }
  const reply = await request('/api/create', { method: 'POST', body: JSON.stringify(body), signal })
  for await (const line of lines(reply.body!)) {
    const said = line.trim() ? JSON.parse(line) : {}
    if (said.error) throw new ApiError(said.error, 0)
  }
}

function digestOf(file: File, tell: (done: number) => void, signal: AbortSignal): Promise<string> {
  const worker = new Worker(new URL('./hash.worker.ts', import.meta.url), { type: 'module' })
  return new Promise<string>((done, failed) => {
    signal.addEventListener('abort', () => failed(signal.reason), { once: true })
    worker.onmessage = ({ data }) => {
      if (data.digest) done(data.digest)
      else if (data.error) failed(new Error(`the file cannot be read: ${data.error}`))
      else tell(data.done)
    }
    worker.onerror = () => failed(new Error('the file cannot be read'))
    worker.postMessage(file)
  }).finally(() => worker.terminate())
}

/** Only the older interface tells how much of a body has been sent. */
function upload(path: string, file: File, tell: (done: number) => void, signal: AbortSignal): Promise<void> {
  return new Promise((done, failed) => {
    const sending = new XMLHttpRequest()
    signal.addEventListener('abort', () => {
      sending.abort()
      failed(signal.reason)
    })
    sending.upload.onprogress = (event) => tell(event.loaded)
    sending.onload = () => {
      if (sending.status < 300) done()
      else failed(new ApiError(sending.responseText.trim() || 'the daemon refused the file', sending.status))
    }
    sending.onerror = () => failed(new ApiError('the daemon does not answer', 0, 'send the file again; what came is kept'))
    sending.open('POST', path)
    sending.send(file)
  })
}

export async function variant(model: string, target: string, contextSize: number): Promise<void> {
  await send('POST', `/models/${model}/repackage`, { target, context_size: contextSize })
}
