'use strict'
// A small shop traced with dd-trace. Writes what it knows of its own spans to the file named as argument.

const { traced, writeTruth } = require('./traced')

function checkStock (i) {
  const check = { service: 'stock', resource: `stock/${i % 7}`, type: 'worker', metrics: { 'stock.left': i % 5 } }
  const tags = { 'cache.hit': String(i % 2 === 0) }
  traced('stock.check', check, () => {
    traced('stock.cache', { service: 'stock-cache', resource: 'get', type: 'cache', tags }, () => {})
    if (i % 5 === 0) throw new RangeError(`ausverkauft: «Gerät ${i}» 🚫`)
  })
}

function request (i) {
  const tags = { 'customer.name': 'Zoë Ångström 😀', ключ: '值', 'http.method': 'GET' }
  const metrics = { items: i, ratio: i / 8 }
  traced('web.request', { resource: `GET /artikel/${i}/größe`, type: 'web', tags, metrics }, () => {
    traced('auth.verify', { resource: 'token' }, () => {})
    try { checkStock(i) } catch {} // handled: the request itself succeeds
    const prices = { service: 'Shop Wörker', resource: 'prices', type: 'worker', metrics: { big: 2 ** 53, small: -1e-9 } }
    traced('1.price-list/ü', prices, () => {})
    if (i % 9 === 0) throw new TypeError(`order ${i} broke\nin two lines`)
  })
}

for (let i = 0; i < 60; i++) {
  try { request(i) } catch {}
}
traced('shop.audit', {}, span => span.setTag('manual.keep', true))
traced('shop.health', {}, span => span.setTag('manual.drop', true))
writeTruth(process.argv[2])
