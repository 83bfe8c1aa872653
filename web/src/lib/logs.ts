// The log as the page keeps it: the last lines, and which of them are shown.

export type Level = 'debug' | 'info' | 'warning' | 'error'

export interface LogLine {
  at: string
  source: 'service' | 'engine'
  level: Level
  model?: string
  backend?: string
  logger?: string
  text: string
  /** Counted by the page, to tell lines apart. */
  number: number
}

export const LEVELS: Level[] = ['debug', 'info', 'warning', 'error']
export const MOST = 20_000
const CUT = 2_000

/** Adds lines behind others; of too many the oldest go, many at once, so that it is not done for each. */
export function add(lines: LogLine[], more: LogLine[]): LogLine[] {
  const all = lines.concat(more)
  return all.length > MOST ? all.slice(all.length - (MOST - CUT)) : all
}

export function matching(lines: LogLine[], level: Level, words: string): LogLine[] {
  const least = LEVELS.indexOf(level)
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  if (!least && !wanted.length) return lines
  return lines.filter((line) => {
    if (LEVELS.indexOf(line.level) < least) return false
    if (!wanted.length) return true
    const text = `${line.text} ${line.model ?? ''}`.toLowerCase()
    return wanted.every((word) => text.includes(word))
  })
}

/** Text without what steers terminals; such characters are shown, not obeyed. */
export function visible(text: string): string {
  return text
    .replace(/\u001b\[[0-9;]*m/g, '')
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
}

/**
 * How many rows of that many columns a text takes where it is broken anywhere. What is not ASCII counts as two
 * columns, and a tab as four: a row too many is better than text that is cut off.
 */
export function rowsOf(text: string, columns: number): number {
  if (text.length <= columns && !ODD.test(text)) return 1
  let rows = 0
  for (const line of visible(text).split('\n')) {
    let width = line.length
    if (ODD.test(line)) {
      width = 0
      for (const char of line) width += char === '\t' ? 4 : char > '\u007e' ? 2 : 1
      width += Math.ceil(width / columns) // of a row the last column may be too narrow
    }
    rows += Math.max(1, Math.ceil(width / columns))
  }
  return rows
}
const ODD = /[^\u0020-\u007e]/
