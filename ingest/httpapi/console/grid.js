// @ts-check
// A table of any number of rows, of which only those are in the page that are seen.

import { h, put } from './dom.js'

/** @typedef {import('./csv.js').Row} Row */

const rowHeight = 30
/** Rows above and below those that are seen, so that scrolling shows no gap. */
const spare = 12
/** By how many rows the widths of the columns go, and their bounds in characters. */
const sampled = 200
const widths = { least: 6, most: 44 }
/** A cell shows this much of its value; the dialog shows all. */
const shownLength = 300

const numeric = /^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/

export class Grid {
  /**
   * @param {HTMLElement} host scrolls; role="grid" and tabindex="0"
   * @param {(column: string, value: string|null) => void} open shows a value as a whole
   */
  constructor(host, open) {
    this.host = host
    this.open = open
    this.head = h('div', { class: 'grid-head', role: 'row' })
    this.body = h('div', { class: 'grid-body', role: 'rowgroup' })
    put(host, this.head, this.body)
    /** @type {HTMLElement[]} */
    this.pool = []
    this.pending = false
    /** @type {string[]} */
    this.columns = []
    /** @type {boolean[]} which columns are of numbers */
    this.isNumber = []
    /** @type {Row[]} */
    this.rows = []
    this.laid = 0 // rows by which the widths were measured
    /** @type {{row: number, column: number}} the cell that the keys move */
    this.active = { row: 0, column: 0 }
    host.addEventListener('scroll', () => this.soon())
    host.addEventListener('keydown', (event) => this.key(event))
    host.addEventListener('click', (event) => this.click(event))
    host.addEventListener('dblclick', () => this.openActive())
    host.addEventListener('focus', () => this.soon())
    new ResizeObserver(() => this.soon()).observe(host)
    this.reset([])
  }

  /**
   * Empties the table.
   * @param {string[]} columns
   */
  reset(columns) {
    this.columns = columns
    this.laid = 0
    this.active = { row: 0, column: 0 }
    this.head.replaceChildren()
    this.host.scrollTo(0, 0)
    this.host.setAttribute('aria-colcount', String(columns.length + 1))
    this.grow([])
  }

  /**
   * Shows rows that have been added to.
   * @param {Row[]} rows
   */
  grow(rows) {
    this.rows = rows
    if (this.head.childElementCount === 0 || (this.laid < sampled && rows.length > this.laid)) this.layOut()
    this.host.setAttribute('aria-rowcount', String(rows.length + 1))
    this.host.style.setProperty('--rows', String(rows.length))
    this.soon()
  }

  /** Finds the widths of the columns, and which are of numbers. */
  layOut() {
    const sample = this.rows.slice(0, sampled)
    this.laid = sample.length
    this.isNumber = this.columns.map((_, i) => {
      const values = sample.map((row) => row[i]).filter((value) => value !== null && value !== undefined)
      return values.length > 0 && values.every((value) => numeric.test(/** @type {string} */ (value)))
    })
    const wide = this.columns.map((name, i) => {
      const longest = sample.reduce((most, row) => Math.max(most, row[i]?.length ?? 4), name.length)
      return `${Math.min(widths.most, Math.max(widths.least, longest)) + 4}ch`
    })
    this.host.style.setProperty('--columns', `${Math.max(4, String(this.rows.length).length + 3)}ch ${wide.join(' ')}`)
    this.head.replaceChildren(h('span', { class: 'grid-number', role: 'columnheader', 'aria-label': 'Row' }, ''),
      ...this.columns.map((name, i) => h('span', { role: 'columnheader', class: this.isNumber[i] ? 'number' : null, title: name }, name)))
    this.pool = []
    this.body.replaceChildren()
  }

  /** Draws before the next frame, once. */
  soon() {
    if (this.pending) return
    this.pending = true
    requestAnimationFrame(() => {
      this.pending = false
      this.draw()
    })
  }

  draw() {
    this.body.style.height = `${this.rows.length * rowHeight}px`
    const seen = Math.ceil(this.host.clientHeight / rowHeight)
    const wanted = Math.min(this.rows.length, seen + 2 * spare)
    const first = Math.max(0, Math.min(this.rows.length - wanted, Math.floor(this.host.scrollTop / rowHeight) - spare))
    while (this.pool.length < wanted) {
      const row = h('div', { class: 'grid-row', role: 'row' }, h('span', { class: 'grid-number', role: 'rowheader' }),
        ...this.columns.map((_, i) => h('span', { role: 'gridcell', class: this.isNumber[i] ? 'number' : null })))
      this.pool.push(row)
      this.body.append(row)
    }
    while (this.pool.length > wanted) this.pool.pop()?.remove()
    // A row keeps its element while it is seen: scrolling by one row changes one element.
    for (let i = first; i < first + wanted; i++) this.fill(this.pool[i % wanted], i)
    this.markActive(first, wanted)
  }

  /**
   * @param {HTMLElement} element
   * @param {number} index
   */
  fill(element, index) {
    const row = this.rows[index]
    const known = /** @type {any} */ (element)
    if (known.row === row) return
    known.row = row
    known.index = index
    element.style.transform = `translateY(${index * rowHeight}px)`
    element.setAttribute('aria-rowindex', String(index + 2))
    element.children[0].textContent = String(index + 1)
    for (let c = 0; c < this.columns.length; c++) {
      const cell = element.children[c + 1]
      const value = row[c]
      cell.textContent = value === null || value === undefined ? 'NULL' : value.slice(0, shownLength)
      cell.classList.toggle('null', value === null || value === undefined)
    }
  }

  /**
   * @param {number} first
   * @param {number} wanted
   */
  markActive(first, wanted) {
    this.body.querySelector('#grid-active')?.removeAttribute('id')
    const { row, column } = this.active
    if (row < first || row >= first + wanted) return this.host.removeAttribute('aria-activedescendant')
    this.pool[row % wanted].children[column + 1].id = 'grid-active'
    this.host.setAttribute('aria-activedescendant', 'grid-active')
  }

  /** @param {MouseEvent} event */
  click(event) {
    const cell = /** @type {HTMLElement} */ (event.target).closest('[role=gridcell]')
    const row = /** @type {any} */ (cell?.parentElement)
    if (!cell || !row) return
    this.active = { row: row.index, column: [...row.children].indexOf(cell) - 1 }
    this.soon()
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (this.rows.length === 0) return
    const page = Math.max(1, Math.floor((this.host.clientHeight - rowHeight) / rowHeight) - 1)
    const { row, column } = this.active
    const far = event.ctrlKey || event.metaKey
    const last = this.rows.length - 1
    const end = this.columns.length - 1
    const to = {
      ArrowDown: [far ? last : row + 1, column], ArrowUp: [far ? 0 : row - 1, column],
      ArrowRight: [row, far ? end : column + 1], ArrowLeft: [row, far ? 0 : column - 1],
      PageDown: [row + page, column], PageUp: [row - page, column],
      Home: [far ? 0 : row, 0], End: [far ? last : row, end],
    }[event.key]
    if (to) {
      event.preventDefault()
      this.active = { row: Math.max(0, Math.min(last, to[0])), column: Math.max(0, Math.min(end, to[1])) }
      this.reveal()
    } else if (event.key === 'Enter') {
      event.preventDefault()
      this.openActive()
    }
  }

  /** Scrolls so that the active cell is seen. */
  reveal() {
    const top = this.active.row * rowHeight
    const room = this.host.clientHeight - this.head.offsetHeight - rowHeight
    if (top < this.host.scrollTop) this.host.scrollTop = top
    else if (top > this.host.scrollTop + room) this.host.scrollTop = top - room
    const cell = /** @type {HTMLElement} */ (this.head.children[this.active.column + 1])
    const fixed = /** @type {HTMLElement} */ (this.head.children[0]).offsetWidth
    const [left, right] = [cell.offsetLeft - fixed, cell.offsetLeft + cell.offsetWidth - this.host.clientWidth]
    if (left < this.host.scrollLeft) this.host.scrollLeft = left
    else if (right > this.host.scrollLeft) this.host.scrollLeft = Math.min(right, left)
    this.soon()
  }

  openActive() {
    const row = this.rows[this.active.row]
    if (row) this.open(this.columns[this.active.column], row[this.active.column])
  }
}
