// What a peer of js-libp2p sees of a relay. `node relay.mjs ADDR`: the relay's multiaddr with its PeerId.
// Prints one line of JSON; ends with 1 where something does not go.

import { noise } from '@libp2p/noise'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

// For Node.js before 22.
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const ECHO = '/wattle-interop/echo/1'
// Long enough for a machine that is busy; the libraries' own times are as long.
const PATIENCE_MS = 120_000
// More than one frame of the circuit.
const SENT = new Uint8Array(100_000).map((_, at) => at % 251)

const relay = multiaddr(process.argv[2])
const circuit = relay.encapsulate('/p2p-circuit')

function peer (listen) {
  return createLibp2p({
    addresses: { listen },
    transports: [tcp(), circuitRelayTransport({ reservationCompletionTimeout: PATIENCE_MS })],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: {
      dialTimeout: PATIENCE_MS,
      addressDialTimeout: PATIENCE_MS,
      inboundUpgradeTimeout: PATIENCE_MS,
      inboundStreamProtocolNegotiationTimeout: PATIENCE_MS,
      outboundStreamProtocolNegotiationTimeout: PATIENCE_MS
    },
    connectionMonitor: { enabled: false },
    services: { identify: identify({ timeout: PATIENCE_MS }), ping: ping({ timeout: PATIENCE_MS }) }
  })
}

/** Waits until a question has an answer. */
async function until (what, question) {
  const start = Date.now()
  for (;;) {
    const answer = await question()
    if (answer) return answer
    if (Date.now() - start > PATIENCE_MS) throw new Error(`${what}: not within ${PATIENCE_MS} ms`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const seen = {}
// Listening has a time that can't be set: 5 s for connecting and reserving.
const there = await until('listening', () => peer([circuit.toString()]).catch(() => null))
const here = await peer([])
try {
  // Connects, identifies, pings.
  const connection = await here.dial(relay)
  seen.encryption = connection.encryption
  seen.multiplexer = connection.multiplexer
  const known = () => here.peerStore.get(connection.remotePeer).then(it => it.metadata.get('AgentVersion') && it)
  const relayIs = await until('identify', known)
  seen.agent = new TextDecoder().decode(relayIs.metadata.get('AgentVersion'))
  seen.protocols = relayIs.protocols
  seen.ping = Number.isFinite(await here.services.ping.ping(relay))

  // A place at the relay, and somebody who comes through it.
  const reserved = () => there.getMultiaddrs().find(it => it.toString().includes('/p2p-circuit'))
  seen.reserved = (await until('reservation', reserved)) != null
  await there.handle(ECHO, stream => {
    stream.addEventListener('message', event => { stream.send(event.data) })
  }, { runOnLimitedConnection: true })
  const through = circuit.encapsulate(`/p2p/${there.peerId}`)
  const stream = await here.dialProtocol(through, ECHO, { runOnLimitedConnection: true })
  const back = []
  let count = 0
  stream.addEventListener('message', event => {
    const bytes = event.data.subarray()
    back.push(bytes)
    count += bytes.length
  })
  for (let at = 0; at < SENT.length; at += 10_000) {
    if (!stream.send(SENT.subarray(at, at + 10_000))) await stream.onDrain()
  }
  await until('echo', () => count >= SENT.length)
  seen.echoed = Buffer.concat(back).equals(Buffer.from(SENT)) ? count : 0
  seen.limited = here.getConnections(there.peerId).every(it => it.limits != null)

  // Nobody is there.
  const nobody = circuit.encapsulate(`/p2p/${(await peer([])).peerId}`)
  seen.nobody = await here.dial(nobody).then(() => 'reached', () => 'refused')
  console.log(JSON.stringify(seen))
} catch (error) {
  console.log(JSON.stringify(seen))
  console.error(error)
  process.exitCode = 1
}
process.exit()
