// @ts-check
// The WebSocket over which states and results of queries come. It opens by itself, and again after it broke; what has not ended is
// subscribed to again then.

import { ask, pause } from './api.js'

/**
 * What a follower of an execution is told.
 * @typedef {object} Follower
 * @property {(message: any) => void} state
 * @property {(message: any) => void} result a result begins, from its first chunk, perhaps once more
 * @property {(data: string) => void} chunk
 * @property {(sha256: string) => void} end of the result
 * @property {(message: any) => void} error the execution will say no more
 * @property {(connected: boolean) => void} connection
 */

const protocol = 'penstock.v1'
/** In ms. */
const backoff = { first: 250, most: 5000 }
/** How long opening may take, in ms. */
const patience = 10_000
/** After how long a silence the server is asked to speak, and how long it may take for that, in ms. */
const silence = { ask: 15_000, answer: 15_000 }

export class Push {
  constructor() {
    /** @type {Map<string, Follower>} */
    this.followers = new Map()
    /** @type {WebSocket|null} */
    this.socket = null
    this.connecting = false
    /** How long to wait before the next try, in ms: it grows until the server has said something. */
    this.wait = 0
    /** Since when the server has said nothing that it should have, by performance.now(). */
    this.heard = 0
    /** When it was asked whether it is still there; 0: since heard it was not. */
    this.asked = 0
    /** Those whose result is on its way: asking for them would begin it anew. @type {Set<string>} */
    this.receiving = new Set()
  }

  /**
   * Follows an execution until its end, its error, or unfollow.
   * @param {string} executionId
   * @param {Follower} follower
   */
  follow(executionId, follower) {
    if (this.followers.size === 0) this.listen() // nothing was to be said before
    this.followers.set(executionId, follower)
    if (this.socket) this.subscribe(executionId)
    else this.connect()
  }

  /** From now on the server should say something. */
  listen() {
    this.heard = performance.now()
    this.asked = 0
  }

  /** @param {string} executionId */
  subscribe(executionId) {
    this.send({ action: 'subscribe', executionId, deliver: 'inline' })
  }

  /** @param {string} executionId */
  unfollow(executionId) {
    if (this.forget(executionId) && this.socket) this.send({ action: 'unsubscribe', executionId })
  }

  /**
   * @param {string} executionId
   * @returns {boolean} whether it was followed
   */
  forget(executionId) {
    this.receiving.delete(executionId)
    return this.followers.delete(executionId)
  }

  /** Connects, and tries again for as long as anything is followed. */
  async connect() {
    if (this.connecting) return
    this.connecting = true
    while (this.followers.size > 0 && !this.socket) {
      if (this.wait > 0) await pause(this.wait * (0.5 + Math.random() / 2))
      this.wait = Math.min(Math.max(2 * this.wait, backoff.first), backoff.most)
      try {
        this.socket = await open()
      } catch {
        // Whatever it was: the server may be restarting. The follower sees that there is no connection, and can give up.
        this.tell(false)
      }
    }
    this.connecting = false
    if (this.socket) this.use(this.socket)
  }

  /** @param {WebSocket} socket */
  use(socket) {
    this.listen()
    this.receiving.clear()
    const watch = setInterval(() => {
      const now = performance.now()
      if (this.followers.size === 0 || now - this.heard < silence.ask) return
      if (this.asked === 0) {
        this.asked = now
        for (const executionId of this.followers.keys()) if (!this.receiving.has(executionId)) this.subscribe(executionId) // it is told of once more
      } else if (now - this.asked >= silence.answer) lose()
    }, silence.ask / 3)
    // The connection is lost when the browser says so, or when it should have and hasn't.
    const lose = () => {
      if (this.socket !== socket) return
      clearInterval(watch)
      this.socket = null
      socket.close()
      if (this.followers.size > 0) {
        this.tell(false)
        this.connect()
      }
    }
    socket.addEventListener('close', lose)
    socket.addEventListener('message', (event) => {
      if (this.socket !== socket) return
      this.listen()
      this.wait = 0
      this.receive(JSON.parse(event.data))
    })
    this.tell(true)
    for (const executionId of this.followers.keys()) this.subscribe(executionId)
  }

  /** @param {boolean} connected */
  tell(connected) {
    for (const follower of this.followers.values()) follower.connection(connected)
  }

  /** @param {object} message */
  send(message) {
    this.socket?.send(JSON.stringify(message))
  }

  /** @param {any} message */
  receive(message) {
    const follower = this.followers.get(message.executionId)
    if (!follower) return // it was given up while this was under way
    switch (message.type) {
      case 'state':
        return follower.state(message)
      case 'result':
        this.receiving.add(message.executionId)
        return follower.result(message)
      case 'chunk':
        return follower.chunk(message.data)
      case 'end':
        this.forget(message.executionId)
        return follower.end(message.sha256)
      case 'error':
        this.forget(message.executionId)
        return follower.error(message)
    }
  }
}

/**
 * Opens a socket with a ticket, since a browser can't send Authorization with it.
 * @returns {Promise<WebSocket>}
 */
async function open() {
  const { ticket } = await ask('/v1/tickets', { method: 'POST', quiet: true, signal: AbortSignal.timeout(patience) })
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  const socket = new WebSocket(`${scheme}://${location.host}/v1/ws?ticket=${encodeURIComponent(ticket)}`, protocol)
  const late = setTimeout(() => socket.close(), patience)
  return /** @type {Promise<WebSocket>} */ (new Promise((resolve, reject) => {
    socket.addEventListener('open', () => resolve(socket), { once: true })
    socket.addEventListener('close', () => reject(new Error('the WebSocket could not be opened')), { once: true })
  })).finally(() => clearTimeout(late))
}
