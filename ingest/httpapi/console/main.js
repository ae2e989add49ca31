// @ts-check
// The page: which view is shown, and whether the server is there.

import { byId } from './dom.js'
import { find, leaveFind, startFind } from './find.js'
import { startKey } from './key.js'
import { startOverview } from './overview.js'
import { startSend } from './send.js'
import { startSQL } from './sql.js'
import { Stats } from './stats.js'

const views = ['overview', 'send', 'find', 'sql']
const words = { live: 'Live', silent: 'Connected', down: 'Reconnecting', locked: 'Locked', '': 'Connecting' }

/** @param {boolean} byUser who gets the focus into the view */
function route(byUser) {
  if (location.hash !== '' && !location.hash.startsWith('#/')) return // a place in the page
  const [, name, argument] = location.hash.split('/')
  const shown = views.includes(name) ? name : views[0]
  for (const view of views) {
    byId(view).hidden = view !== shown
    const link = byId(`to-${view}`)
    if (view === shown) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  const heading = byId(shown).querySelector('h1')
  document.title = `${heading.textContent} · Penstock`
  if (shown === 'find') find(decoded(argument ?? ''))
  else leaveFind()
  if (byUser) {
    heading.focus()
    scrollTo(0, 0)
  }
}

/** @param {string} part of the address */
function decoded(part) {
  try {
    return decodeURIComponent(part)
  } catch {
    return part // somebody typed it; find says what is wrong with it
  }
}

const stats = new Stats()
stats.addEventListener('standing', () => {
  byId('standing').textContent = words[stats.standing]
  byId('standing').className = `standing ${stats.standing}`
})

startKey()
startOverview(stats)
startSend()
startFind()
startSQL()
route(false)
addEventListener('hashchange', () => route(true))
stats.start()
