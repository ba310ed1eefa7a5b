// Which paths exist, and with which methods: tells a wrong method (405) from an unknown path (404).

export function createRouteTable() {
  const routes = new Map<string, { pattern: RegExp; methods: Set<string> }>()
  return {
    add(methods: string | readonly string[], url: string): void {
      const route = routes.get(url) ?? { pattern: patternOf(url), methods: new Set() }
      for (const method of [methods].flat()) route.methods.add(method)
      routes.set(url, route)
    },
    /** Empty when there is no such path. */
    methodsOf(path: string): string[] {
      return [...routes.values()].flatMap(({ pattern, methods }) =>
        pattern.test(path) ? [...methods] : [],
      )
    },
  }
}

function patternOf(url: string): RegExp {
  const source = url
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('/')
  return new RegExp(`^${source}$`)
}
