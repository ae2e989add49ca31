// Runs a statement and has its result pushed, with a WebSocket client that nobody here wrote: npm's ws.
//
// node -e "$(cat subscribe.cjs)" URL < SQL; prints the result that came in chunks, and ends with 1 if it is not what its sha256 says.

const { createHash } = require('node:crypto')
const { readFileSync } = require('node:fs')
const WebSocket = require('ws')

async function main(url, sql) {
  const answer = await fetch(`${url}/v1/queries`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ sql }) })
  if (answer.status !== 202) throw new Error(`POST: ${answer.status}`)
  const { executionId } = await answer.json()
  const socket = new WebSocket(url.replace('http', 'ws') + '/v1/ws', 'penstock.v1')
  const result = await new Promise((resolve, reject) => {
    const chunks = []
    socket.on('error', reject)
    socket.on('close', (code) => reject(new Error(`closed: ${code}`)))
    socket.on('open', () => socket.send(JSON.stringify({ action: 'subscribe', executionId, deliver: 'inline' })))
    socket.on('message', (text) => {
      const message = JSON.parse(text)
      if (message.executionId !== executionId) return reject(new Error(text))
      if (message.type === 'error') return reject(new Error(message.detail))
      if (message.type === 'chunk') {
        if (message.seq !== chunks.length) return reject(new Error(`chunk ${message.seq} in place of ${chunks.length}`))
        chunks.push(message.data)
      }
      if (message.type !== 'end') return
      const all = chunks.join('')
      if (message.sha256 !== createHash('sha256').update(all).digest('hex')) return reject(new Error(text))
      resolve(all)
    })
  })
  socket.close()
  process.stdout.write(result)
}

main(process.argv[1], readFileSync(0, 'utf8')).catch((error) => {
  console.error(error)
  process.exitCode = 1
})
