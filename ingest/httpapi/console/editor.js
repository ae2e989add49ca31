// @ts-check
// The SQL editor: a textarea over the same text in colours, with a list of words that fit what is typed.

import { h, replace } from './dom.js'
import { tokens } from './highlight.js'
import { columns, functions, keywords, tables } from './words.js'

/** @typedef {{word: string, insert: string, kind: string}} Suggestion */

/** In the order in which they are offered: of each kind the shortest first. */
const vocabulary = [
  [...columns.map(([word, type]) => ({ word, insert: word, kind: type })), ...tables.map((word) => ({ word, insert: word, kind: 'table' }))],
  keywords.map((word) => ({ word, insert: word, kind: 'keyword' })),
  functions.map((word) => ({ word, insert: `${word}(`, kind: 'function' })),
].flatMap((kind) => kind.sort((a, b) => a.word.length - b.word.length))

const offered = 8

/**
 * Words that begin like what is typed.
 * @param {string} typed
 * @returns {Suggestion[]}
 */
export function suggestions(typed) {
  const start = typed.toLowerCase()
  const fitting = vocabulary.filter(({ word }) => word.toLowerCase().startsWith(start))
  if (fitting.some(({ word }) => word.toLowerCase() === start)) return [] // nothing is left to complete
  return fitting.slice(0, offered)
}

export class Editor {
  /**
   * @param {HTMLTextAreaElement} area
   * @param {HTMLElement} under shows the text in colours
   * @param {HTMLElement} list role="listbox"
   */
  constructor(area, under, list) {
    this.area = area
    this.under = under
    this.list = list
    /** @type {Suggestion[]} */
    this.fitting = []
    this.chosen = 0
    area.addEventListener('input', () => {
      this.paint()
      this.suggest(2)
    })
    area.addEventListener('keydown', (event) => this.key(event))
    area.addEventListener('blur', () => this.close())
    area.addEventListener('pointerdown', () => this.close())
    list.addEventListener('pointerdown', (event) => {
      event.preventDefault() // the textarea keeps the focus
      const option = /** @type {HTMLElement} */ (event.target).closest('[role=option]')
      if (option) this.take(Number(option.getAttribute('data-index')))
    })
    this.paint()
  }

  get value() {
    return this.area.value
  }

  set value(text) {
    this.area.value = text
    this.paint()
    this.close()
  }

  /**
   * Types a text where the caret is, so that undo takes it back.
   * @param {string} text
   */
  type(text) {
    this.area.focus()
    // Deprecated, and the only way that keeps undo.
    if (!document.execCommand('insertText', false, text)) {
      this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, 'end')
    }
    this.paint()
    this.close()
  }

  paint() {
    const text = this.area.value
    const pieces = []
    let at = 0
    for (const { kind, start, end } of tokens(text)) {
      pieces.push(text.slice(at, start), h('span', { class: `sql-${kind}` }, text.slice(start, end)))
      at = end
    }
    replace(this.under, ...pieces, `${text.slice(at)}\n`) // the last line is as high as the others, if it is empty too
  }

  /** What is typed of a word before the caret; empty inside of texts and comments. */
  typed() {
    const caret = this.area.selectionStart
    if (caret !== this.area.selectionEnd) return ''
    const inside = tokens(this.area.value).find((token) => token.start < caret && caret <= token.end)
    if (inside && (inside.kind === 'text' || inside.kind === 'comment' || inside.kind === 'name')) return ''
    return /[A-Za-z_][A-Za-z0-9_]*$/.exec(this.area.value.slice(0, caret))?.[0] ?? ''
  }

  /** @param {number} least characters that must be typed */
  suggest(least) {
    const typed = this.typed()
    this.fitting = typed.length >= least ? suggestions(typed) : []
    if (this.fitting.length === 0) return this.close()
    this.chosen = 0
    this.show()
  }

  show() {
    replace(this.list, ...this.fitting.map(({ word, kind }, i) =>
      h('li', { role: 'option', id: `sql-word-${i}`, 'data-index': i, 'aria-selected': String(i === this.chosen) },
        h('span', { class: 'mono' }, word), h('span', { class: 'muted' }, kind))))
    this.list.hidden = false
    this.area.setAttribute('aria-activedescendant', `sql-word-${this.chosen}`)
    const frame = /** @type {HTMLElement} */ (this.list.offsetParent).getBoundingClientRect()
    const caret = this.caret()
    const left = Math.max(0, Math.min(caret.left - frame.left, frame.width - this.list.offsetWidth))
    this.list.style.transform = `translate(${left}px, ${caret.bottom - frame.top + 4}px)`
  }

  /** Where the caret is on the screen: where it would be in the text below. */
  caret() {
    const walk = document.createTreeWalker(this.under, NodeFilter.SHOW_TEXT)
    let left = this.area.selectionStart
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const length = node.textContent?.length ?? 0
      if (left <= length) {
        const range = document.createRange()
        range.setStart(node, left)
        return range.getBoundingClientRect()
      }
      left -= length
    }
    return this.area.getBoundingClientRect()
  }

  close() {
    this.fitting = []
    this.list.hidden = true
    this.area.removeAttribute('aria-activedescendant')
  }

  /** @param {number} index */
  take(index) {
    const { insert } = this.fitting[index]
    this.area.setSelectionRange(this.area.selectionStart - this.typed().length, this.area.selectionStart)
    this.type(insert)
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === ' ' && event.ctrlKey) {
      event.preventDefault()
      return this.suggest(0)
    }
    if (this.fitting.length === 0) return
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step) {
      this.chosen = (this.chosen + step + this.fitting.length) % this.fitting.length
      this.show()
    } else if ((event.key === 'Enter' || event.key === 'Tab') && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      this.take(this.chosen)
    } else if (event.key === 'Escape') {
      this.close()
    } else {
      return
    }
    event.preventDefault()
  }
}
