// Which paths exist, and with which methods: tells a wrong method (405) from an unknown path (404), and a browser what a
// page may ask.

type Route = {
  readonly pattern: RegExp
  readonly methods: Set<string>
  /** Those that a page may use. */
  readonly clientMethods: Set<string>
}

export function createRouteTable() {
  const routes = new Map<string, Route>()
  return {
    add(methods: string | readonly string[], url: string, isForClients: boolean): void {
      const route = routes.get(url) ?? {
        pattern: patternOf(url),
        methods: new Set(),
        clientMethods: new Set(),
      }
      for (const method of [methods].flat()) {
        route.methods.add(method)
        if (isForClients) route.clientMethods.add(method)
      }
      routes.set(url, route)
    },
    /** Empty when there is no such path. */
    methodsOf(path: string): string[] {
      return [...routes.values()].flatMap(({ pattern, methods }) =>
        pattern.test(path) ? [...methods] : [],
      )
    },
    clientMethodsOf(path: string): string[] {
      return [...routes.values()].flatMap(({ pattern, clientMethods }) =>
        pattern.test(path) ? [...clientMethods] : [],
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
