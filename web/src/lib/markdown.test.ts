// @vitest-environment jsdom
import { describe, expect, it } from 'vitest'
import { blocks } from './markdown'

const html = (text: string) => blocks(text).join('')

describe('markdown', () => {
  it('is structure', () => {
    expect(html('# A\n\n- one\n- **two**')).toContain('<h1>A</h1>')
    expect(html('| a | b |\n|---|---|\n| 1 | 2 |')).toContain('<td>2</td>')
    expect(html('```python\nx < 1\n```')).toBe('<pre><code class="language-python">x &lt; 1\n</code></pre>\n')
  })
  it('comes in blocks, of which finished ones stay the same while the last grows', () => {
    const before = blocks('first\n\nsecond be')
    const after = blocks('first\n\nsecond begins')
    expect(after[0]).toBe(before[0])
    expect(after).toHaveLength(2)
  })
  it('shows formulas, and leaves money alone', () => {
    expect(html('so $a^2$ and \\(b\\)')).toContain('<span class="math">a^2</span>')
    expect(html('$$\nx < y\n$$')).toContain('<span class="math math-display">x &lt; y</span>')
    expect(html('it costs $5 or $6')).not.toContain('math')
  })
  it('counts on after what interrupts a list', () => {
    expect(html('1. a\n\n```\nx\n```\n\n2. b')).toContain('<ol start="2">')
  })
  it('has boxes for tasks, which cannot be changed', () => {
    expect(html('- [ ] a')).toContain('<input disabled="" type="checkbox" aria-label="to be done">')
    expect(html('- [x] a')).toMatch(/<input checked="" disabled="" type="checkbox" aria-label="done">/)
  })
  it('aligns the columns of a table', () => {
    expect(html('| a | b |\n|--:|:-:|\n| 1 | 2 |')).toMatch(/<td align="right">1<\/td>\s*<td align="center">2<\/td>/)
  })
  it('opens links elsewhere', () => {
    expect(html('[a](https://a.example)')).toContain('rel="noopener noreferrer"')
  })
})

describe('nothing that a model writes runs, loads or hides anything', () => {
  const attacks = [
    '<script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    '<svg><animate onbegin=alert(1)>',
    '<a href="javascript:alert(1)">x</a>',
    '[x](javascript:alert(1))',
    '[x](data:text/html,<script>alert(1)</script>)',
    '[x](vbscript:x)',
    '![x](https://elsewhere.example/x.png)',
    '<iframe srcdoc="<script>1</script>">',
    '<style>*{display:none}</style>',
    '<form action=https://elsewhere.example><input name=a></form>',
    '<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>',
    '```"><script>alert(1)</script>\nx\n```',
    '$<img src=x onerror=alert(1)>$',
    '<details open ontoggle=alert(1)>',
    '**<b onclick=alert(1)>x**',
    '[a]: https://a.example "><script>"\n[a]',
    '<div style="position:fixed">x</div>',
    'a<br onload=alert(1)>b',
  ]
  it.each(attacks)('%s', (text) => {
    const holder = document.createElement('div')
    holder.innerHTML = html(text)
    for (const node of holder.querySelectorAll('*')) {
      expect('A BLOCKQUOTE BR CODE DEL EM H1 LI OL P PRE SPAN STRONG UL'.split(' ')).toContain(node.tagName)
      for (const { name, value } of node.attributes) {
        expect(['href', 'class', 'target', 'rel']).toContain(name)
        if (name === 'href') expect(value).toMatch(/^(https?|mailto):/)
      }
    }
  })
})
