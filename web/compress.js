// Puts a compressed form beside each file of the built app that gains by it, for the daemon to send as it is.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const root = new URL('../src/modelrunner/server/ui/', import.meta.url).pathname
const texts = /\.(html|js|css|svg|json|webmanifest)$/

for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !texts.test(entry.name)) continue
  const path = join(entry.parentPath, entry.name)
  const data = readFileSync(path)
  const forms = {
    gz: gzipSync(data, { level: 9 }),
    br: brotliCompressSync(data, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }),
  }
  for (const [ending, packed] of Object.entries(forms)) {
    if (packed.length < data.length * 0.9) writeFileSync(`${path}.${ending}`, packed)
  }
}
