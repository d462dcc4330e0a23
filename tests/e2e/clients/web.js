'use strict'
// An express program. Writes its port to the file named as argument and serves until its standard input ends.

const tracer = require('dd-trace').init()
const express = require('express')
const fs = require('fs')

const app = express()

app.get('/order/:number', (request, response) => {
  const number = Number(request.params.number)
  tracer.trace('order.price', { resource: `price ${number}` }, span => span.setTag('number', number))
  if (number % 7 === 0) throw new Error(`order ${number} cannot be priced`)
  response.send(String(number))
})
app.use((error, request, response, next) => response.status(500).send(error.message))

const server = app.listen(0, '127.0.0.1', () => {
  fs.writeFileSync(process.argv[2] + '.new', String(server.address().port))
  fs.renameSync(process.argv[2] + '.new', process.argv[2])
})
process.stdin.resume().on('end', () => { server.close(); server.closeAllConnections() })
