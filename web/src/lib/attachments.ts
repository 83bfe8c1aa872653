// Files that a person gives a message: pictures as the API takes them, texts as text.

import type { Attachment } from './conversations'

const MOST_PIXELS = 16_384
const MOST_PICTURE = 20 << 20
const MOST_TEXT = 4 << 20
const PICTURES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/bmp']

/** Raises an error that says why a file cannot be sent. */
export async function attach(file: File): Promise<Attachment> {
  if (PICTURES.includes(file.type)) {
    if (file.size > MOST_PICTURE) throw new Error(`${file.name} is larger than 20 MB`)
    const data = await dataUrl(file)
    const { width, height } = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that can be read`)
    })
    if (Math.max(width, height) > MOST_PIXELS) throw new Error(`${file.name} has more than ${MOST_PIXELS} pixels a side`)
    return { name: file.name, type: file.type, size: file.size, data }
  }
  if (file.size > MOST_TEXT) throw new Error(`${file.name} is larger than 4 MB, more than a model reads`)
  const bytes = new Uint8Array(await file.arrayBuffer())
  if (bytes.subarray(0, 8192).includes(0)) throw new Error(`${file.name} is neither a picture nor a text`)
  return { name: file.name, type: file.type || 'text/plain', size: file.size, data: new TextDecoder().decode(bytes) }
}

function dataUrl(file: File): Promise<string> {
  return new Promise((done, failed) => {
    const reader = new FileReader()
    reader.onload = () => done(reader.result as string)
    reader.onerror = () => failed(reader.error)
    reader.readAsDataURL(file)
  })
}
