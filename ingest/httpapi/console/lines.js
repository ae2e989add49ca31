// @ts-check
// Cuts NDJSON into batches without decoding it: the bytes that are sent are those of the file.

/**
 * @typedef {object} Line
 * @property {number} number in the whole file, from 1
 * @property {Uint8Array} bytes without its end
 * @property {boolean} tooLong it is longer than any document, and its bytes were thrown away
 */

/** The largest document that the server takes. */
export const maxDocument = 10_485_760
/** Well below what the server takes at once: 10 MiB and 10,000 items. */
const batchBytes = 4 << 20
const batchLines = 5000

const newline = 10

/** @param {Uint8Array} bytes */
function isBlank(bytes) {
  return bytes.every((b) => b === 32 || b === 9 || b === 13)
}

/**
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<Line>} the lines that are not blank
 */
async function* linesOf(stream) {
  const reader = stream.getReader()
  /** @type {Uint8Array[]} pieces of the line that has no end yet */
  let begun = []
  let length = 0
  let number = 1
  const add = (/** @type {Uint8Array} */ piece) => {
    length += piece.length
    if (length <= maxDocument) begun.push(piece)
    else begun = []
  }
  const line = () => {
    const whole = { number, bytes: join(begun), tooLong: length > maxDocument }
    begun = []
    length = 0
    number++
    return whole
  }
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      let from = 0
      for (let end = value.indexOf(newline); end >= 0; end = value.indexOf(newline, from)) {
        add(value.subarray(from, end))
        const next = line()
        if (next.tooLong || !isBlank(next.bytes)) yield next
        from = end + 1
      }
      if (from < value.length) add(value.subarray(from))
    }
    const last = line()
    if (last.tooLong || !isBlank(last.bytes)) yield last
  } finally {
    await reader.cancel()
  }
}

/** @param {Uint8Array[]} pieces */
function join(pieces) {
  if (pieces.length === 1) return pieces[0]
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

/**
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<Line[]>} as many lines at a time as make a batch
 */
export async function* batchesOf(stream) {
  /** @type {Line[]} */
  let batch = []
  let size = 0
  for await (const line of linesOf(stream)) {
    if (batch.length > 0 && (size + line.bytes.length > batchBytes || batch.length === batchLines)) {
      yield batch
      batch = []
      size = 0
    }
    batch.push(line)
    size += line.bytes.length + 1
  }
  if (batch.length > 0) yield batch
}

/**
 * The body of a batch.
 * @param {Line[]} lines
 * @returns {Blob}
 */
export function bodyOf(lines) {
  return new Blob(/** @type {BlobPart[]} */ (lines.flatMap((line) => [line.bytes, '\n'])))
}

/**
 * Whether a text that somebody pasted is meant as a document a line: it is no JSON as a whole, but each of its lines is.
 * @param {string} text
 */
export function looksLikeLines(text) {
  if (isJSON(text)) return false
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.length > 1 && isJSON(lines[0])
}

/** @param {string} text */
function isJSON(text) {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
