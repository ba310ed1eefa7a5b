// A runner that starts one contender, prints its origin and stays until it is killed.

import { Contender } from '../../bench/contender.ts'
import type { Peer } from '../../bench/peers/peers.ts'

const [peer, folder = ''] = process.argv.slice(2)
const { origin } = await Contender.start(peer as Peer, {
  upstream: 'http://127.0.0.1:1',
  folder,
  adminKey: '',
  isPinned: false,
  isGuarded: false,
  profileFolder: undefined,
})
process.stdout.write(origin)
