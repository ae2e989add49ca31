// @ts-check
// The SQL view: one execution at a time, from the editor to its rows.

import { ask, explain, pause, postOnce, Problem } from './api.js'
import { CSVReader } from './csv.js'
import { byId, h, notice, replace } from './dom.js'
import { Editor } from './editor.js'
import { bytes, count, duration, at } from './format.js'
import { forgetQueries, pastQueries, remember } from './history.js'
import { Push } from './push.js'
import { Result } from './result.js'
import { startTabs } from './tabs.js'
import { columns, examples } from './words.js'

/**
 * An execution that was started here.
 * @typedef {object} Run
 * @property {string} sql
 * @property {string} id empty until the server has it
 * @property {string} state Athena's words, before them STARTING
 * @property {boolean} ended nothing more will come
 * @property {boolean} giveUp it was cancelled before it had an id
 * @property {number} start by performance.now()
 * @property {number} at
 */

const tones = /** @type {Record<string, string>} */ ({ SUCCEEDED: 'good', FAILED: 'bad', CANCELLED: 'warn' })

const push = new Push()
/** @type {Run|null} */
let current = null
/** @type {Editor} */
let editor
/** @type {Result} */
let result
/** @type {(panel: string) => void} */
let showPanel
let ticking = 0

/** Wires the view. */
export function startSQL() {
  editor = new Editor(byId('sql-text'), byId('sql-under'), byId('sql-words'))
  result = new Result()
  showPanel = startTabs(byId('sql-tabs'), (panel) => {
    if (panel === 'sql-chart') result.draw()
    if (panel === 'sql-history') showHistory()
  })
  byId('sql-form').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault()
    run()
  })
  byId('sql-text').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault()
      run()
    }
  })
  byId('sql-cancel').addEventListener('click', cancel)
  if (/mac|iphone|ipad/i.test(navigator.userAgent)) byId('sql-hint').textContent = '⌘ ↵'
  const choice = byId('sql-examples')
  choice.append(...examples.map(({ name }, i) => h('option', { value: i }, name)))
  choice.addEventListener('change', () => {
    if (choice.value !== '') editor.value = examples[Number(choice.value)].sql
    choice.value = ''
    byId('sql-text').focus()
  })
  byId('sql-columns').append(...columns.map(([name, type, about]) =>
    h('li', null, h('button', { type: 'button', title: `${type}: ${about}`, click: () => editor.type(name) },
      h('span', { class: 'mono' }, name), h('span', { class: 'muted' }, type.replace(' with time zone', ''))))))
  byId('sql-schema').open = matchMedia('(min-width: 60rem)').matches
  byId('sql-forget').addEventListener('click', () => {
    forgetQueries()
    showHistory()
  })
  editor.value = pastQueries()[0]?.sql ?? examples[0].sql
}

async function run() {
  const sql = editor.value.trim()
  if (current && !current.ended) return
  if (sql === '') return byId('sql-text').focus()
  const mine = (current = { sql, id: '', state: 'STARTING', ended: false, giveUp: false, start: performance.now(), at: Date.now() })
  result.reset()
  showPanel('sql-rows')
  byId('sql-empty').hidden = true
  replace(byId('sql-notice'))
  byId('sql-facts').textContent = ''
  stand(mine, 'STARTING')
  clearInterval(ticking)
  ticking = setInterval(() => tick(mine), 100)
  try {
    const started = await (await postOnce('/v1/queries', 'application/json', JSON.stringify({ sql }))).json()
    mine.id = started.executionId
    stand(mine, started.state)
    push.follow(mine.id, follower(mine))
    if (mine.giveUp) await cancel()
  } catch (error) {
    const noSQL = error instanceof Problem && error.status === 404
    const { title, detail } = noSQL ? { title: 'This server runs no SQL', detail: 'It takes documents in and finds them. Ask another one.' } : explain(error)
    end(mine, 'FAILED', title, detail)
  }
}

/**
 * @param {Run} mine
 * @returns {import('./push.js').Follower}
 */
function follower(mine) {
  let reader = new CSVReader()
  /** @type {string[]} as they came, to be checked as a whole */
  let pieces = []
  return {
    state(message) {
      stand(mine, message.state) // an error follows that says why it failed, or else the result
      result.know({ completeThrough: message.completeThrough, ...message.statistics })
    },
    result(message) {
      reader = new CSVReader()
      pieces = []
      result.clear()
      result.know({ bytes: message.bytes, rows: message.rows })
    },
    chunk(data) {
      pieces.push(data)
      if (!result.add(reader.push(data), data.length)) {
        push.unfollow(mine.id)
        end(mine, 'SUCCEEDED')
      }
    },
    async end(sha256) {
      try {
        if (await matches(pieces, sha256)) end(mine, 'SUCCEEDED')
        else end(mine, 'FAILED', 'The result is damaged', 'Its SHA-256 is not the one that the server gave. Run the query again.')
      } catch (error) { // such as that there is no memory for it
        end(mine, 'FAILED', 'The result could not be checked', explain(error).detail)
      }
    },
    async error(message) {
      if (mine.state === 'SUCCEEDED') {
        result.whole = false // it is there, but could not be brought
        end(mine, 'SUCCEEDED')
        replace(byId('sql-notice'), notice('warn', message.title, message.detail))
      } else if (message.status >= 500) {
        await pause(1000) // the server could not ask how it stands
        if (!mine.ended) push.follow(mine.id, follower(mine))
      } else {
        end(mine, mine.state === 'CANCELLED' ? 'CANCELLED' : 'FAILED', message.title, message.detail)
      }
    },
    connection(connected) {
      byId('sql-connection').hidden = connected
    },
  }
}

/**
 * Whether pieces of text have a digest. Browsers make digests on https and on localhost only; elsewhere nothing is checked.
 * @param {string[]} pieces
 * @param {string} sha256 in hex
 */
async function matches(pieces, sha256) {
  if (!crypto.subtle) return true
  const digest = await crypto.subtle.digest('SHA-256', await new Blob(pieces).arrayBuffer())
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, '0')).join('') === sha256
}

async function cancel() {
  const mine = current
  if (!mine || mine.ended) return
  if (mine.state === 'SUCCEEDED') { // what has come of its result stays
    push.unfollow(mine.id)
    result.whole = false
    return end(mine, 'SUCCEEDED')
  }
  mine.giveUp = true
  byId('sql-cancel').disabled = true
  if (mine.id === '') return // run comes back to it
  try {
    await ask(`/v1/queries/${encodeURIComponent(mine.id)}`, { method: 'DELETE' })
  } catch (error) {
    if (mine.ended) return
    mine.giveUp = false
    const { title, detail } = explain(error)
    replace(byId('sql-notice'), notice('warn', 'The query could not be cancelled', `${title}. ${detail}`))
    byId('sql-cancel').disabled = false
  }
}

/**
 * Shows a state of an execution that goes on.
 * @param {Run} mine
 * @param {string} state
 */
function stand(mine, state) {
  if (mine !== current || mine.ended) return
  mine.state = state
  const pill = byId('sql-state')
  // What has succeeded is still being fetched.
  const word = state === 'SUCCEEDED' ? 'RECEIVING' : state
  if (pill.textContent !== word) pill.textContent = word
  pill.className = `pill calm`
  pill.hidden = false
  byId('sql-run').disabled = true
  byId('sql-cancel').hidden = false
  byId('sql-cancel').disabled = mine.giveUp && state !== 'SUCCEEDED' // then it ends the receiving
  tick(mine)
}

/** @param {Run} mine */
function tick(mine) {
  if (mine === current && !mine.ended) byId('sql-elapsed').textContent = duration((performance.now() - mine.start) / 1000)
}

/**
 * Shows the end of an execution.
 * @param {Run} mine
 * @param {string} state
 * @param {string} [title]
 * @param {string} [detail]
 */
function end(mine, state, title, detail) {
  if (mine !== current || mine.ended) return
  mine.ended = true
  mine.state = state
  clearInterval(ticking)
  const seconds = (performance.now() - mine.start) / 1000
  byId('sql-connection').hidden = true
  byId('sql-cancel').hidden = true
  byId('sql-run').disabled = false
  byId('sql-elapsed').textContent = duration(seconds)
  byId('sql-state').textContent = state
  byId('sql-state').className = `pill ${tones[state] ?? 'calm'}`
  const rows = state === 'SUCCEEDED' ? result.total() : null
  if (state === 'SUCCEEDED') result.end(mine.id)
  else replace(byId('sql-notice'), notice(state === 'FAILED' ? 'bad' : 'warn', title ?? state, detail))
  byId('sql-facts').textContent = state === 'SUCCEEDED' ? facts() : ''
  remember({ sql: mine.sql, at: mine.at, state, seconds, rows })
}

/** What is known of a result, in a line. */
function facts() {
  const known = result.known
  const total = result.total()
  return [
    total === null ? `over ${count(result.rows.length)} rows` : `${count(total)} rows`,
    known.bytes !== undefined && bytes(known.bytes),
    known.scannedBytes !== undefined && `${bytes(known.scannedBytes)} scanned`,
    known.completeThrough && `complete through ${at(known.completeThrough)}`,
  ].filter(Boolean).join(' · ')
}

function showHistory() {
  const past = pastQueries()
  byId('sql-forget').hidden = past.length === 0
  replace(byId('sql-past'), ...past.map((one) =>
    h('li', null, h('button', { type: 'button', click: () => use(one.sql) }, h('code', null, one.sql),
      h('span', { class: 'muted' }, `${at(one.at)} · ${one.state.toLowerCase()} · ${duration(one.seconds)}${one.rows === null ? '' : ` · ${count(one.rows)} rows`}`)))))
  byId('sql-no-past').hidden = past.length > 0
}

/** @param {string} sql */
function use(sql) {
  editor.value = sql
  byId('sql-text').focus()
}
