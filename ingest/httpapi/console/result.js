// @ts-check
// The rows of a result as they arrive: in the table, in the chart, and as a file.

import { explain, problemOf, request } from './api.js'
import { byId, copyButton, h, notice, replace, save } from './dom.js'
import { count } from './format.js'
import { Grid } from './grid.js'
import { laidOut, layOutLimit } from './json.js'
import { currentKey } from './key.js'
import { Plot } from './plot.js'

/** @typedef {import('./csv.js').Row} Row */

/** How much of a result the page keeps; the file has all. */
const most = { rows: 250_000, characters: 64 << 20 }

export class Result {
  constructor() {
    this.grid = new Grid(byId('grid'), showValue)
    this.plot = new Plot(byId('plot'), byId('plot-note'), { kind: byId('plot-kind'), x: byId('plot-x'), y: byId('plot-y') })
    /** @type {HTMLAnchorElement} */
    this.link = byId('sql-download')
    this.link.addEventListener('click', (event) => this.download(event))
    /** @type {string[]} */
    this.columns = []
    /** @type {Row[]} */
    this.rows = []
    this.characters = 0
    /** Whether all of it is kept here. */
    this.whole = true
    /** @type {Record<string, any>} what the server says of it: rows, bytes, scannedBytes, completeThrough */
    this.known = {}
  }

  /** Forgets the result. */
  reset() {
    this.known = {}
    this.clear()
  }

  /** Forgets the rows. */
  clear() {
    this.columns = []
    this.rows = []
    this.characters = 0
    this.whole = true
    this.link.hidden = true
    byId('grid').hidden = true
    replace(byId('sql-more'))
    this.grid.reset([])
    this.plot.show([], [])
  }

  /** @param {Record<string, any>} facts */
  know(facts) {
    Object.assign(this.known, facts)
  }

  /**
   * How many rows it has, those that are not kept here too; null if nobody has told.
   * @returns {number|null}
   */
  total() {
    return this.known.rows ?? (this.whole ? this.rows.length : null)
  }

  /**
   * Adds rows; the first of all is the header.
   * @param {Row[]} rows
   * @param {number} characters that they came in
   * @returns {boolean} false: the page keeps no more
   */
  add(rows, characters) {
    this.characters += characters
    if (this.columns.length === 0 && rows.length > 0) {
      this.columns = (rows.shift() ?? []).map((name) => name ?? '')
      byId('grid').hidden = false
      this.grid.reset(this.columns)
    }
    for (const row of rows) this.rows.push(row)
    this.whole = this.rows.length <= most.rows && this.characters <= most.characters
    if (!this.whole) this.rows.length = Math.min(this.rows.length, most.rows)
    this.grid.grow(this.rows)
    return this.whole
  }

  /**
   * All that will be here is.
   * @param {string} executionId
   */
  end(executionId) {
    this.link.href = `/v1/queries/${encodeURIComponent(executionId)}/result`
    this.link.hidden = false
    this.draw()
    if (!this.whole) {
      const total = this.total()
      replace(byId('sql-more'), notice('calm', `The first ${count(this.rows.length)}${total === null ? '' : ` of ${count(total)}`} rows`, 'The page has no more of them. The CSV file has all.'))
    } else if (this.rows.length === 0) {
      replace(byId('sql-more'), notice('calm', 'No rows', 'The query ran, and nothing fits it.'))
    }
  }

  draw() {
    this.plot.show(this.columns, this.rows)
  }

  /**
   * Without a key the browser downloads by itself, to the disk. With one it can't send it, so the file goes through memory.
   * @param {MouseEvent} event
   */
  async download(event) {
    if (!currentKey()) return
    event.preventDefault()
    try {
      const response = await request(this.link.pathname)
      if (response.status !== 200) throw await problemOf(response)
      save('query.csv', await response.blob())
    } catch (error) {
      const { title, detail } = explain(error)
      replace(byId('sql-more'), notice('warn', 'The file could not be had', `${title}. ${detail}`))
    }
  }
}

/**
 * Shows a value as a whole, JSON laid out.
 * @param {string} column
 * @param {string|null} value
 */
function showValue(column, value) {
  byId('cell-name').textContent = column
  const looksLikeJSON = value !== null && /^\s*[{[]/.test(value)
  replace(byId('cell-value'), ...(value === null ? ['NULL'] : looksLikeJSON ? laidOut(value) : [value.slice(0, layOutLimit)]))
  replace(byId('cell-tools'), copyButton(() => value ?? '', 'Copy'), h('button', { type: 'button', click: () => byId('cell').close() }, 'Close'))
  byId('cell').showModal()
}
