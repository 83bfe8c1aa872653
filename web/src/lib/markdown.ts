// What a model writes, as HTML that can do nothing: raw HTML is shown as text, and what is left is sanitized.
// Block by block, so that a long answer that grows costs only its last block.

import DOMPurify from 'dompurify'
import { Marked, type Token, type TokensList } from 'marked'

const escapes: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escape = (text: string) => text.replace(/[&<>"']/g, (char) => escapes[char]!)

const math = (tex: string, display: boolean) =>
  `<span class="math${display ? ' math-display' : ''}">${escape(tex.trim())}</span>`

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => (/^<br\s*\/?>$/i.test(text.trim()) ? '<br>' : escape(text)),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
  extensions: [
    {
      name: 'displayMath',
      level: 'block',
      start: (source) => source.match(/\$\$|\\\[/)?.index,
      tokenizer(source) {
        const found = /^\$\$([\s\S]+?)\$\$(?:\n|$)/.exec(source) ?? /^\\\[([\s\S]+?)\\\](?:\n|$)/.exec(source)
        return found ? { type: 'displayMath', raw: found[0], text: found[1]! } : undefined
      },
      renderer: (token) => `<p>${math(token.text, true)}</p>`,
    },
    {
      name: 'inlineMath',
      level: 'inline',
      start: (source) => source.match(/\$|\\\(/)?.index,
      tokenizer(source) {
        // A dollar begins a formula only where none could stand for money: no space inside, no digit after.
        const found =
          /^\\\(([\s\S]+?)\\\)/.exec(source) ??
          /^\$\$([^$\n]+?)\$\$/.exec(source) ??
          /^\$(?!\s)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)/.exec(source)
        return found ? { type: 'inlineMath', raw: found[0], text: found[1]! } : undefined
      },
      renderer: (token) => math(token.text, false),
    },
  ],
})

const TAGS =
  'a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i input li ol p pre s span strong sub sup table tbody td th thead tr ul'
const SAFE = {
  ALLOWED_TAGS: TAGS.split(' '),
  ALLOWED_ATTR: ['href', 'class', 'type', 'checked', 'disabled', 'start', 'align'],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  // To these the expression would be applied as well, and take them away.
  ADD_URI_SAFE_ATTR: ['type', 'checked', 'disabled', 'start', 'align'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
}

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName === 'A') {
    node.setAttribute('target', '_blank')
    node.setAttribute('rel', 'noopener noreferrer')
  }
  if (node.tagName === 'INPUT') {
    if (node.getAttribute('type') !== 'checkbox') node.remove()
    node.setAttribute('aria-label', node.hasAttribute('checked') ? 'done' : 'to be done')
  }
  if (node.hasAttribute('class') && !/^(?:language-[\w+#.-]+|math(?: math-display)?)$/.test(node.className)) {
    node.removeAttribute('class')
  }
})

const MOST_KEPT = 4000
const kept = new Map<string, string>()

function render(token: Token, links: TokensList['links']): string {
  const found = kept.get(token.raw)
  if (found !== undefined) return found
  const list = Object.assign([token], { links }) as TokensList
  // Where it cannot work it lets everything through, which is never what is wanted.
  const html = DOMPurify.isSupported ? DOMPurify.sanitize(marked.parser(list), SAFE) : escape(token.raw)
  if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value!)
  kept.set(token.raw, html)
  return html
}

export function blocks(text: string): string[] {
  const tokens = marked.lexer(text)
  return tokens.filter((token) => token.type !== 'space' && token.type !== 'def').map((token) => render(token, tokens.links))
}
