'use strict'
// What the traced programs share: spans that the program itself remembers.
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
      links: [], // these two are filled in by who makes them
      events: [],
      priority: parent ? parent.priority : { 'shop.health': -1, 'shop.audit': 2 }[name] ?? 1
    }
    truth.push(record)
    open.push(record)
    try {
      return body(span, record)
    } catch (err) {
      record.error = 1
      Object.assign(record.meta, { 'error.message': err.message, 'error.type': err.name, 'error.stack': err.stack })
      throw err
    } finally {
      open.pop()
    }
  })
}

function writeTruth (path) {
  fs.writeFileSync(path, JSON.stringify(truth))
}

module.exports = { traced, tracer, writeTruth }
