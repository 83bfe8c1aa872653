// The digest of a file, piece by piece beside the page, since files of models are larger than memory.

import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'

const PIECE = 4 << 20

self.onmessage = async ({ data: file }: MessageEvent<File>) => {
  try {
    const hash = sha256.create()
    for (let at = 0; at < file.size; at += PIECE) {
      hash.update(new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer()))
      self.postMessage({ done: Math.min(at + PIECE, file.size) })
    }
    self.postMessage({ digest: `sha256:${bytesToHex(hash.digest())}` })
  } catch (error) {
    self.postMessage({ error: String(error) })
  }
}
