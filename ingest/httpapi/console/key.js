// @ts-check
// The API key. It lives in this tab's session storage only, and goes away with the tab.

import { byId } from './dom.js'

const name = 'penstock.key'

/** @type {Promise<void>|null} while the dialog is open */
let asking = null
/** The user has closed the dialog without a key: nothing but the user opens it again. */
let declined = false
/** @type {string|null} where session storage is forbidden */
let remembered = null

/** The key was not given. */
export class KeyNeeded extends Error {
  title = 'An API key is needed'
  detail = 'This server answers only to those who have one. Enter it with the button at the top.'
}

/** @returns {string|null} */
export function currentKey() {
  try {
    return sessionStorage.getItem(name)
  } catch {
    return remembered
  }
}

/** @param {string|null} key */
function keep(key) {
  remembered = key
  try {
    if (key) sessionStorage.setItem(name, key)
    else sessionStorage.removeItem(name)
  } catch {
    // Then it lasts as long as the page.
  }
  byId('key').hidden = !key && !declined
}

/**
 * Asks the user for a key. Returns once there is another than the one that was refused.
 * @param {string|null} refused
 * @param {boolean} quiet: nobody has just asked for anything, so a dialog that was closed stays closed
 */
export async function askKey(refused, quiet) {
  if (currentKey() !== refused) return
  if (quiet && declined) throw new KeyNeeded()
  keep(null) // the one that was refused is of no use
  asking ??= open(refused ? 'The server does not know this key.' : 'This server asks for an API key.')
  await asking
  if (!currentKey()) throw new KeyNeeded()
}

/** @param {string} reason */
function open(reason) {
  const dialog = byId('key-dialog')
  const input = byId('key-text')
  byId('key-reason').textContent = reason
  byId('key-forget').hidden = !currentKey()
  input.value = ''
  dialog.showModal()
  return new Promise((resolve) => {
    dialog.addEventListener(
      'close',
      () => {
        asking = null
        resolve(undefined)
      },
      { once: true },
    )
  })
}

/** Wires the dialog and the button that opens it. */
export function startKey() {
  const dialog = byId('key-dialog')
  const input = byId('key-text')
  byId('key-form').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault()
    const key = input.value.trim()
    if (!key) return
    if (!/^[!-~]+$/.test(key)) { // no header can hold it
      byId('key-reason').textContent = 'A key has no blanks, and no letters but those from A to Z.'
      return
    }
    declined = false
    keep(key)
    dialog.close()
  })
  byId('key-forget').addEventListener('click', () => {
    declined = true
    keep(null)
    dialog.close()
  })
  dialog.addEventListener('close', () => {
    input.value = ''
    declined = !currentKey()
    keep(currentKey())
  })
  byId('key-cancel').addEventListener('click', () => dialog.close())
  byId('key').addEventListener('click', () => {
    asking ??= open('Another key takes the place of the one in use.')
  })
  byId('key').hidden = !currentKey()
}
