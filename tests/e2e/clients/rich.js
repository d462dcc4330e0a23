'use strict'
// What not every span has: links, events, 128-bit ids, errors, statements. Writes its truth to the file named as argument.

// dd-trace sends its statistics every ten seconds and not at the end. What it would do then, this program does at its end.
const everyTenSeconds = []
const { setInterval } = global
global.setInterval = (call, ms, ...more) => {
  if (call.name === 'bound onInterval') everyTenSeconds.push(call)
  return setInterval(call, ms, ...more)
}

const { traced, writeTruth } = require('./traced')

for (let i = 0; i < 25; i++) {
  let other
  traced('queue.send', { resource: `send ${i % 3}`, type: 'worker' }, span => { other = span.context() })
  const tags = { 'span.kind': 'consumer' }
  try {
    traced('queue.receive', { service: 'worker', resource: `receive ${i % 3}`, type: 'worker', tags, metrics: { n: i } }, (span, record) => {
      span.addLink({ context: other, attributes: { reason: 'retry', ключ: 'значение' } })
      const to = { trace_id: other.toTraceId(true), span_id: other.toSpanId() }
      record.links.push({ ...to, attributes: { reason: 'retry', ключ: 'значение' } })
      const attributes = { text: 'grün', count: i, ratio: 0.5, ok: i % 2 === 0, codes: [1, i, -3], names: ['a', 'é'] }
      span.addEvent('unpacked', attributes, 1700000000120 + 4 * i)
      // A multiple of 4 ms is exact as a float of nanoseconds too.
      record.events.push({ name: 'unpacked', time: (1700000000120 + 4 * i) * 1e6, attributes })
      const query = { service: 'shop-db', resource: 'SELECT * FROM cart WHERE id = 42', type: 'sql', tags: { 'db.type': 'postgres' } }
      traced('postgres.query', query, () => {})
      if (i % 5 === 0) throw new RangeError(`no item ${i}\nat all`)
    })
  } catch {}
}
writeTruth(process.argv[2])
everyTenSeconds.forEach(call => call())
