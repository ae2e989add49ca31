// @ts-check
// Reads CSV as Penstock and Athena write it: every value quoted, NULL empty and unquoted. It comes in pieces, cut anywhere.

/** @typedef {(string|null)[]} Row */

const start = 0 // of a field
const bare = 1
const quoted = 2
const quote = 3 // inside quotes, after one: the end, or the first half of a doubled one

/** Reads pieces into rows; each character is looked at once, however large a row is. */
export class CSVReader {
  constructor() {
    this.state = start
    this.field = ''
    /** @type {Row} */
    this.row = []
  }

  /**
   * @param {string} text the next piece
   * @returns {Row[]} the rows that it ends
   */
  push(text) {
    /** @type {Row[]} */
    const rows = []
    let at = 0
    while (at < text.length) {
      if (this.state === quoted) {
        const end = text.indexOf('"', at)
        this.field += text.slice(at, end < 0 ? undefined : end)
        if (end < 0) break
        this.state = quote
        at = end + 1
        continue
      }
      const c = text[at++]
      if (c === ',' || c === '\n') {
        this.row.push(this.state === quote || this.field !== '' ? this.field : null)
        this.field = ''
        this.state = start
        if (c === '\n') {
          rows.push(this.row)
          this.row = []
        }
      } else if (c === '"' && this.state === start) {
        this.state = quoted
      } else if (c === '"' && this.state === quote) {
        this.field += '"'
        this.state = quoted
      } else {
        this.field += c
        this.state = bare
      }
    }
    return rows
  }
}
