// Formulas as MathML, which browsers draw themselves; loaded when there is one.

import katex from 'katex'

export function draw(tex: string, into: HTMLElement): void {
  try {
    const html = katex.renderToString(tex, {
      displayMode: into.classList.contains('math-display'),
      output: 'mathml',
      trust: false,
      maxExpand: 500,
      maxSize: 20,
    })
    // The frame of a box is a style, which the page's policy allows only where a script sets it.
    into.innerHTML = html.replaceAll(' style="', ' data-style="')
    for (const node of into.querySelectorAll<MathMLElement>('[data-style]')) node.style.cssText = node.dataset.style!
  } catch {
    // What is no formula stays as it was written. (KaTeX's own way to show it is an inline style, which is forbidden.)
    into.textContent = tex
  }
}
