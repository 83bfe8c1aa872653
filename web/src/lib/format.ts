// Numbers as people read them.

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB']

// Made once: each is dear to make, and a long list asks for many.
const NUMBER = new Intl.NumberFormat('en')
const TIME = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' })

export function bytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(value >= 10 ? 1 : 2)} ${UNITS[unit]}`
}

export function seconds(value: number): string {
  if (value < 0.001) return `${(value * 1e6).toFixed(0)} µs`
  if (value < 1) return `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`
  if (value < 60) return `${value.toFixed(value < 10 ? 2 : 1)} s`
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`
  if (value >= 2 * 86400) return plural(Math.round(value / 86400), 'day')
  return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`
}

export function tokens(count: number): string {
  if (count >= 1e6) return `${(count / 1e6).toFixed(count >= 1e8 ? 0 : 1)}M`
  return count >= 10000 ? `${(count / 1000).toFixed(count >= 100000 ? 0 : 1)}k` : NUMBER.format(count)
}

export function ago(at: number, now = Date.now()): string {
  const past = Math.max(0, (now - at) / 1000)
  if (past < 45) return 'just now'
  if (past < 3600) return `${Math.max(1, Math.round(past / 60))} min ago`
  if (past < 86400) return `${Math.round(past / 3600)} h ago`
  if (past < 86400 * 7) return `${Math.round(past / 86400)} d ago`
  return new Date(at).toLocaleDateString('en', { day: 'numeric', month: 'short', year: 'numeric' })
}

export function clock(at: number): string {
  return Number.isNaN(at) ? '' : TIME.format(at)
}

/** A size or a quantization as the daemon writes it: `92.10MiB`, `MOSTLY_Q4_1`. */
export function spaced(text: string | undefined): string {
  return (text ?? '')
    .replace(/^MOSTLY_/, '')
    .replace(/^([\d.]+)([A-Za-z]+)$/, (_, amount: string, unit: string) => `${Number(amount)} ${unit}`)
}

/** A model's name without what goes without saying; of an id, as much as tells it apart. */
export function short(name: string): string {
  return name.replace(/:latest$/, '').replace(/^sha256:([0-9a-f]{12})[0-9a-f]{52}$/, '$1')
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${NUMBER.format(count)} ${count === 1 ? one : many}`
}
