// Formulas as MathML, which browsers draw themselves; loaded when there is one.

import katex from 'katex'

export function draw(tex: string, into: HTMLElement): void {
  katex.render(tex, into, {
    displayMode: into.classList.contains('math-display'),
    output: 'mathml',
    throwOnError: false,
    trust: false,
    maxExpand: 500,
    maxSize: 20,
  })
}
