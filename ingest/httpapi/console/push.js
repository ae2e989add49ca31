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

export class Push {
  constructor() {
    /** @type {Map<string, Follower>} */
    this.followers = new Map()
    /** @type {WebSocket|null} */
    this.socket = null
    this.connecting = false
  }

  /**
   * Follows an execution until its end, its error, or unfollow.
   * @param {string} executionId
   * @param {Follower} follower
   */
  follow(executionId, follower) {
    this.followers.set(executionId, follower)
    if (this.socket) this.send({ action: 'subscribe', executionId, deliver: 'inline' })
    else this.connect()
  }

  /** @param {string} executionId */
  unfollow(executionId) {
    if (this.followers.delete(executionId) && this.socket) this.send({ action: 'unsubscribe', executionId })
  }

  /** Connects, and tries again for as long as anything is followed. */
  async connect() {
    if (this.connecting) return
    this.connecting = true
    for (let wait = backoff.first; this.followers.size > 0; wait = Math.min(2 * wait, backoff.most)) {
      try {
        this.socket = await open()
        break
      } catch {
        // Whatever it was: the server may be restarting. The follower sees that there is no connection, and can give up.
        this.tell(false)
        await pause(wait * (0.5 + Math.random() / 2))
      }
    }
    this.connecting = false
    const socket = this.socket
    if (!socket) return
    socket.addEventListener('message', (event) => this.receive(JSON.parse(event.data)))
    socket.addEventListener('close', () => {
      this.socket = null
      if (this.followers.size > 0) {
        this.tell(false)
        this.connect()
      }
    })
    this.tell(true)
    for (const executionId of this.followers.keys()) this.send({ action: 'subscribe', executionId, deliver: 'inline' })
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
        return follower.result(message)
      case 'chunk':
        return follower.chunk(message.data)
      case 'end':
        this.followers.delete(message.executionId)
        return follower.end(message.sha256)
      case 'error':
        this.followers.delete(message.executionId)
        return follower.error(message)
    }
  }
}

/**
 * Opens a socket with a ticket, since a browser can't send Authorization with it.
 * @returns {Promise<WebSocket>}
 */
async function open() {
  const { ticket } = await ask('/v1/tickets', { method: 'POST', quiet: true })
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  const socket = new WebSocket(`${scheme}://${location.host}/v1/ws?ticket=${encodeURIComponent(ticket)}`, protocol)
  return new Promise((resolve, reject) => {
    socket.addEventListener('open', () => resolve(socket), { once: true })
    socket.addEventListener('close', () => reject(new Error('the WebSocket could not be opened')), { once: true })
  })
}
