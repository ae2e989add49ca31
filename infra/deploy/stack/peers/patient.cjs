// Loaded before dynalite, which ends itself when a client goes away in the middle of a request, as one does that is killed.
process.on('uncaughtException', (error) => {
  if (error.code === 'ECONNRESET') return
  console.error(error)
  process.exit(1)
})
