// Loaded before kinesis-mock, which would listen on every address of the machine and has no setting for it.
const { Server } = require('node:net')

const { listen } = Server.prototype
Server.prototype.listen = function (port, ready) {
  return listen.call(this, port, '127.0.0.1', ready)
}
