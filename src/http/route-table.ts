// Which paths exist, whatever their methods: tells a wrong method (405) from an unknown path (404).

export function createRouteTable() {
  const patterns = new Map<string, RegExp>()
  return {
    add(url: string): void {
      const source = url
        .split('/')
        .map((part) =>
          part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
        )
        .join('/')
      patterns.set(url, new RegExp(`^${source}$`))
    },
    hasPath(path: string): boolean {
      for (const pattern of patterns.values()) if (pattern.test(path)) return true
      return false
    },
  }
}
