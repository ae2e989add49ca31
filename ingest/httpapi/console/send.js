// @ts-check
// Posts what is pasted, dropped or chosen, one after the other, and shows what became of each.

import { explain, Unreachable } from './api.js'
import { byId, copyButton, h, notice, put, replace } from './dom.js'
import { bytes, count, duration, plural } from './format.js'
import { KeyNeeded } from './key.js'
import { batchesOf, looksLikeLines, maxDocument } from './lines.js'
import { postDocument, postLines } from './post.js'

/** How many ids and problems of a file are listed. */
const listed = 100
/** How many ids of a file are kept to be copied. */
const keptIds = 100_000

/** @typedef {{name: string, blob: Blob, lines: boolean}} Job */

/** @type {Job[]} */
const queue = []
let working = false

/** Wires the view. */
export function startSend() {
  const form = byId('send-form')
  const text = byId('send-text')
  const files = byId('send-files')
  const drop = byId('drop')

  form.addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault()
    if (text.value.trim() === '') {
      text.focus()
      return say('There is nothing to send yet: paste a document, or choose a file.')
    }
    add([{ name: 'Pasted', blob: new Blob([text.value]), lines: shape() === 'lines' || (shape() === 'auto' && looksLikeLines(text.value)) }])
  })
  text.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit()
  })
  byId('send-choose').addEventListener('click', () => files.click())
  files.addEventListener('change', () => {
    add([...files.files].map(jobOf))
    files.value = ''
  })
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    drop.addEventListener(kind, (/** @type {DragEvent} */ event) => {
      event.preventDefault()
      drop.classList.toggle('over', kind === 'dragover')
      if (kind === 'drop') add([...(event.dataTransfer?.files ?? [])].map(jobOf))
    })
  }
  for (const kind of ['dragover', 'drop']) {
    addEventListener(kind, (/** @type {any} */ event) => {
      if (event.dataTransfer?.types.includes('Files')) event.preventDefault() // beside the place for it the browser would leave the page for the file
    })
  }
  byId('send-clear').addEventListener('click', () => {
    byId('send-results').replaceChildren()
    byId('send-empty').hidden = false
    byId('send-clear').hidden = true
  })
}

/** How the user wants it read: auto, document or lines. */
function shape() {
  return byId('send-shape').value
}

/**
 * @param {File} file
 * @returns {Job}
 */
function jobOf(file) {
  return { name: file.name, blob: file, lines: shape() === 'lines' || (shape() === 'auto' && /\.(ndjson|jsonl|jsonlines)$/i.test(file.name)) }
}

/** @param {string} words for those who don't see the list */
function say(words) {
  byId('send-status').textContent = words
}

/** @param {Job[]} jobs */
async function add(jobs) {
  queue.push(...jobs)
  if (working) return
  working = true
  for (let job = queue.shift(); job; job = queue.shift()) await run(job)
  working = false
}

/** @param {Job} job */
async function run(job) {
  const stop = new AbortController()
  const type = byId('send-type').value.trim()
  const attributes = new URLSearchParams(type ? { type } : {})
  const state = h('div', { class: 'state' })
  const stopper = h('button', { class: 'quiet small', type: 'button', click: () => stop.abort() }, 'Stop')
  const card = h('li', { class: 'card sent' },
    h('div', { class: 'sent-head' }, h('strong', { class: 'name' }, job.name),
      h('span', { class: 'muted' }, `${job.lines ? 'one document a line' : 'one document'}, ${bytes(job.blob.size)}`), stopper), state)
  byId('send-results').prepend(card)
  byId('send-empty').hidden = true
  byId('send-clear').hidden = false
  try {
    await (job.lines ? sendLines(job, attributes, stop.signal, state) : sendDocument(job, attributes, stop.signal, state))
  } catch (error) {
    const { title, detail } = stop.signal.aborted ? { title: 'Stopped', detail: 'What was acked before is stored.' } : explain(error)
    put(state, notice('bad', title, detail))
    say(`${job.name}: ${title}`)
  }
  stopper.remove()
}

/**
 * @param {Job} job
 * @param {URLSearchParams} attributes
 * @param {AbortSignal} signal
 * @param {HTMLElement} state
 */
async function sendDocument(job, attributes, signal, state) {
  if (job.blob.size > maxDocument) {
    put(state, notice('bad', 'Too large', `A document has at most ${bytes(maxDocument)}. Documents that stand one a line may be many more together.`))
    return
  }
  replace(state, h('span', { class: 'muted' }, 'Sending…'))
  const start = performance.now()
  const ack = await postDocument(job.blob, attributes, signal)
  const took = (performance.now() - start) / 1000
  replace(state, h('p', { class: 'acked' }, h('span', { class: 'pill good' }, 'Stored'), h('span', null, `acked in ${duration(took)}`),
    ack.via === 'spill' ? h('span', { class: 'muted' }, 'by the spill') : null), idLine(ack.id))
  say(`${job.name}: stored in ${duration(took)}`)
}

/**
 * @param {Job} job
 * @param {URLSearchParams} attributes
 * @param {AbortSignal} signal
 * @param {HTMLElement} state
 */
async function sendLines(job, attributes, signal, state) {
  /** @type {Tally} */
  const all = { stored: 0, ids: [], refused: 0, problems: [] }
  const start = performance.now()
  let slowest = 0
  let sent = 0
  const show = (/** @type {boolean} */ ended) => {
    const took = (performance.now() - start) / 1000
    replace(state, ...summary(all, ended, took, slowest), !ended && h('progress', { max: job.blob.size, value: sent }))
    if (ended) {
      put(state, problemList(all), idList(all))
      say(`${job.name}: ${count(all.stored)} stored, ${count(all.refused)} refused`)
    }
  }
  const refuse = (/** @type {number} */ lines, /** @type {import('./post.js').LineProblem} */ problem) => {
    all.refused += lines
    if (all.problems.length < listed) all.problems.push({ ...problem, lines })
  }
  show(false)
  try {
    for await (const lines of batchesOf(job.blob.stream())) {
      const batch = lines.filter((line) => !line.tooLong)
      for (const { number } of lines.filter((line) => line.tooLong)) refuse(1, { line: number, ...tooLarge })
      const asked = performance.now()
      /** @type {import('./post.js').Outcome} */
      const outcome = { ids: [], problems: [] }
      try {
        await postLines(batch, attributes, signal, outcome)
      } catch (error) {
        // The next lines may well be taken, unless nobody is there to take them, or they are not let in.
        if (signal.aborted || error instanceof Unreachable || error instanceof KeyNeeded) throw error
        refuse(batch.length - outcome.ids.length - outcome.problems.length, { line: batch[0].number, ...explain(error) })
      } finally {
        all.stored += outcome.ids.length
        for (const id of outcome.ids.slice(0, keptIds - all.ids.length)) all.ids.push(id)
        for (const problem of outcome.problems) refuse(1, problem)
      }
      slowest = Math.max(slowest, (performance.now() - asked) / 1000)
      sent += batch.reduce((sum, line) => sum + line.bytes.length + 1, 0)
      show(false)
    }
  } finally {
    show(true)
  }
}

const tooLarge = { title: 'Too large', detail: `A document has at most ${bytes(maxDocument)}.` }

/**
 * What became of the lines of a file.
 * @typedef {object} Tally
 * @property {number} stored
 * @property {string[]} ids the first keptIds of those
 * @property {number} refused
 * @property {(import('./post.js').LineProblem & {lines: number})[]} problems the first, each of so many lines
 */

/**
 * @param {Tally} all
 * @param {boolean} ended
 * @param {number} took
 * @param {number} slowest
 */
function summary(all, ended, took, slowest) {
  const word = !ended ? 'Sending' : all.refused === 0 ? 'Stored' : all.stored === 0 ? 'Refused' : 'Stored in part'
  const tone = !ended ? 'calm' : all.refused === 0 ? 'good' : all.stored === 0 ? 'bad' : 'warn'
  return [
    h('p', { class: 'acked' }, h('span', { class: `pill ${tone}` }, word),
      h('span', null, `${plural(all.stored, 'event')} acked${ended ? ` in ${duration(took)}` : ''}`),
      all.refused > 0 && h('span', { class: 'bad-text' }, `${count(all.refused)} refused`),
      slowest > 0 && h('span', { class: 'muted' }, `longest wait for an ack ${duration(slowest)}`)),
  ]
}

/** @param {string} id */
function idLine(id) {
  return h('p', { class: 'ids' }, idLink(id), copyButton(() => id, 'Copy'))
}

/** @param {string} id */
function idLink(id) {
  return h('a', { class: 'mono', href: `#/find/${encodeURIComponent(id)}` }, id)
}

/** @param {Tally} all */
function idList({ stored, ids }) {
  if (stored === 0) return null
  const more = stored - listed
  return h('details', null, h('summary', null, plural(stored, 'id')),
    h('ol', { class: 'id-list' }, ...ids.slice(0, listed).map((id) => h('li', null, idLink(id)))),
    more > 0 && h('p', { class: 'muted' }, `and ${count(more)} more`),
    copyButton(() => ids.join('\n'), ids.length === stored ? 'Copy all' : `Copy the first ${count(ids.length)}`))
}

/** @param {Tally} all */
function problemList({ refused, problems }) {
  if (refused === 0) return null
  const more = refused - problems.reduce((sum, one) => sum + one.lines, 0)
  return h('details', { open: true }, h('summary', null, plural(refused, 'problem')),
    h('ul', { class: 'problems' }, ...problems.map((one) =>
      h('li', null, h('span', { class: 'line-number' }, one.lines === 1 ? `Line ${one.line}` : `${count(one.lines)} lines from ${one.line}`),
        h('span', null, one.title), h('span', { class: 'muted' }, one.detail)))),
    more > 0 && h('p', { class: 'muted' }, `and ${count(more)} more`))
}
