// Which page is shown: the path below /ui/, without a library.

const ROOT = '/ui/'

export interface Route {
  page: string
  rest: string
  query: URLSearchParams
}

export function parse(path: string, search = ''): Route {
  const below = path.startsWith(ROOT) ? path.slice(ROOT.length) : ''
  const [page = '', ...rest] = below.split('/')
  return { page: page || 'chat', rest: rest.map(decodeURIComponent).join('/'), query: new URLSearchParams(search) }
}

export const router = $state({ route: parse(location.pathname, location.search) })

export function href(page: string, rest = '', query: Record<string, string> = {}): string {
  const path = rest ? `/${rest.split('/').map(encodeURIComponent).join('/')}` : ''
  const search = new URLSearchParams(query).toString()
  return `${ROOT}${page}${path}${search ? `?${search}` : ''}`
}

export function go(to: string, how: 'push' | 'replace' = 'push'): void {
  if (to !== location.pathname + location.search) history[how === 'push' ? 'pushState' : 'replaceState'](null, '', to)
  router.route = parse(location.pathname, location.search)
}

export function listen(): () => void {
  const moved = () => {
    router.route = parse(location.pathname, location.search)
  }
  const clicked = (event: MouseEvent) => {
    const link = (event.target as Element | null)?.closest?.('a')
    if (!link || event.defaultPrevented || event.button !== 0) return
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
    if (link.target || link.hasAttribute('download') || link.origin !== location.origin) return
    if (!link.pathname.startsWith(ROOT)) return
    event.preventDefault()
    go(link.pathname + link.search)
  }
  addEventListener('popstate', moved)
  document.addEventListener('click', clicked)
  return () => {
    removeEventListener('popstate', moved)
    document.removeEventListener('click', clicked)
  }
}
