// @vitest-environment jsdom
import { describe, expect, it } from 'vitest'
import { draw } from './math'

function drawn(tex: string): HTMLElement {
  const into = document.createElement('span')
  into.textContent = tex
  draw(tex, into)
  return into
}

describe('formulas', () => {
  it('are MathML', () => {
    expect(drawn('\\frac{1}{2}').querySelector('mfrac')).not.toBeNull()
  })
  it.each(['\\frac{1', '\\tag{1} x', '\\nosuchthing', '\\frac{<b>}'])('that are none are shown as written: %s', (tex) => {
    expect(drawn(tex).innerHTML).toBe(tex.replace('<b>', '&lt;b&gt;'))
  })
})
