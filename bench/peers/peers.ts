// Who takes part, and what has to be installed for it. `README.md` here says what each of them does and why its settings
// are fair.

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export type Peer =
  | 'sallyport'
  | 'http-proxy'
  | 'http-proxy-3'
  | 'fastify-http-proxy'
  | 'node-undici'
  | 'nginx'
  | 'nginx-lua'
  | 'nginx-njs'
  | 'haproxy'

export type PeerDescription = {
  readonly name: Peer
  /** With the version that is installed here. */
  readonly title: string
  readonly kind: 'plain' | 'detokenizes'
  /** A sentence about what to install; undefined when it can run. */
  readonly missing: () => string | undefined
}

/** Those that the nginx peers know, all with the card of `payment.ts`. */
export const PEER_TOKENS: readonly string[] = Array.from({ length: 10 }, (_, i) => `tok_bench_${i}`)

/** Where Debian has them; `/usr/sbin` is not in everybody's PATH. */
const PROGRAM_FOLDERS = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
const NGINX_MODULES = '/usr/lib/nginx/modules'

export function programPath(name: 'nginx' | 'haproxy'): string | undefined {
  return PROGRAM_FOLDERS.map((folder) => join(folder, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

export const PEERS: readonly PeerDescription[] = [
  {
    name: 'sallyport',
    title: `Sallyport ${JSON.parse(readText('../../package.json')).version}`,
    kind: 'detokenizes',
    missing: () => undefined,
  },
  ofNode('http-proxy', 'http-proxy'),
  ofNode('http-proxy-3', 'http-proxy-3'),
  ofNode('fastify-http-proxy', '@fastify/http-proxy'),
  { ...ofNode('node-undici', 'undici'), title: `bare node:http + ${ofPackage('undici')}` },
  ofNginx('nginx', 'nginx', 'plain', 'nginx-light', []),
  ofNginx('nginx-lua', 'nginx + Lua', 'detokenizes', 'nginx-light libnginx-mod-http-lua', [
    'ndk_http_module.so',
    'ngx_http_lua_module.so',
  ]),
  ofNginx('nginx-njs', 'nginx + njs', 'detokenizes', 'nginx-light libnginx-mod-http-js', [
    'ngx_http_js_module.so',
  ]),
  {
    name: 'haproxy',
    title: `HAProxy ${versionOf('haproxy')}`,
    kind: 'plain',
    missing: () => toInstall('haproxy', 'haproxy', []),
  },
]

function ofNode(name: Peer, packageName: string): PeerDescription {
  return { name, title: ofPackage(packageName), kind: 'plain', missing: () => undefined }
}

function ofNginx(
  name: Peer,
  title: string,
  kind: PeerDescription['kind'],
  packages: string,
  modules: readonly string[],
): PeerDescription {
  return {
    name,
    title: title.replace('nginx', `nginx ${versionOf('nginx')}`),
    kind,
    missing: () => toInstall('nginx', packages, modules),
  }
}

function toInstall(
  program: 'nginx' | 'haproxy',
  packages: string,
  modules: readonly string[],
): string | undefined {
  const isThere =
    process.platform === 'linux' &&
    programPath(program) !== undefined &&
    modules.every((module) => existsSync(join(NGINX_MODULES, module)))
  return isThere ? undefined : `It needs Debian packages: apt-get install ${packages}`
}

function ofPackage(name: string): string {
  return `${name} ${JSON.parse(readText(`../../node_modules/${name}/package.json`)).version}`
}

/** nginx says it on stderr. */
function versionOf(program: 'nginx' | 'haproxy'): string {
  const path = programPath(program)
  if (path === undefined) return '(not installed)'
  const { stdout, stderr } = spawnSync(path, ['-v'], { encoding: 'utf8' })
  return /\d+(\.\d+)+/.exec(stdout + stderr)?.[0] ?? '(unknown version)'
}

function readText(path: string): string {
  return readFileSync(new URL(path, import.meta.url), 'utf8')
}
