'use strict'
// A small shop traced with dd-trace. Writes what it knows of its own spans to the file named as argument.
// The truth is taken from the program and from the span's public context, never from what passed through an agent.

const tracer = require('dd-trace').init()
const fs = require('fs')

const truth = []
const open = []

/** `tracer.trace` that remembers: parent and top level come from our own stack, not from the tracer. */
function traced (name, { service = 'shop', resource = name, type = '', tags = {}, metrics = {} }, body) {
  return tracer.trace(name, { service, resource, type: type || undefined, tags: { ...tags, ...metrics } }, span => {
    const parent = open.at(-1)
    const record = {
      trace_id: span.context().toTraceId(true),
      span_id: span.context().toSpanId(),
      parent_id: parent ? parent.span_id : '0',
      name, service, resource, type,
      error: 0,
      meta: { ...tags },
      metrics,
      top_level: !parent || parent.service !== service,
      priority: parent ? parent.priority : { 'shop.health': -1, 'shop.audit': 2 }[name] ?? 1
    }
    truth.push(record)
    open.push(record)
    try {
      return body(span)
    } catch (err) {
      record.error = 1
      Object.assign(record.meta, { 'error.message': err.message, 'error.type': err.name, 'error.stack': err.stack })
      throw err
    } finally {
      open.pop()
    }
  })
}

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
fs.writeFileSync(process.argv[2], JSON.stringify(truth))
