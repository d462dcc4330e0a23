'use strict'
// Sends every type of metric with hot-shots, and writes what it sent.
//
//     statsd.js udp:PORT|unix:PATH TRUTH

const fs = require('fs')
const StatsD = require('hot-shots')

const [where, truthPath] = process.argv.slice(2)
const address = where.slice(where.indexOf(':') + 1)
const way = where.startsWith('unix:') ? { protocol: 'uds', path: address } : { host: '127.0.0.1', port: address }
const truth = { counts: {}, gauges: {}, sets: {}, distributions: {}, histograms: {}, events: [], checks: [] }

function note (kind, name, tags, value, rate = 1) {
  const key = `${name}|${[...tags].sort().join(',')}`
  truth[kind][key] ??= []
  truth[kind][key].push([value, rate])
}

function everything (statsd, name, times) {
  for (let number = 0; number < times; number++) {
    const tags = [`shop:${number % 3}`, 'plain']
    statsd.increment(`${name}.views`, 1, tags)
    note('counts', `${name}.views`, tags, 1)
    statsd.gauge(`${name}.depth`, number / 8, tags)
    note('gauges', `${name}.depth`, tags, number / 8)
    statsd.set(`${name}.users`, `u${number % 4}`, ['plain'])
    note('sets', `${name}.users`, ['plain'], `u${number % 4}`)
    statsd.distribution(`${name}.size`, 1 + number * 1.5, tags)
    note('distributions', `${name}.size`, tags, 1 + number * 1.5)
    statsd.histogram(`${name}.cost`, number + 1, tags)
    note('histograms', `${name}.cost`, tags, number + 1)
    statsd.timing(`${name}.took`, number + 2, [])
    note('histograms', `${name}.took`, [], number + 2)
  }
}

const single = new StatsD({ ...way, includeDatadogTelemetry: false })
everything(single, 'single', 60)
single.event('Title', 'Text | more', { alert_type: 'error', priority: 'normal', date_happened: new Date(1700000000000) }, ['a:b'])
truth.events.push({ title: 'Title', text: 'Text | more', alert_type: 'error', priority: 'normal', tags: ['a:b'], date_happened: 1700000000 })
single.check('shop.up', single.CHECKS.CRITICAL, { message: 'down' }, ['a:b'])
truth.checks.push({ check: 'shop.up', status: 2, message: 'down', tags: ['a:b'] })
const buffered = new StatsD({ ...way, maxBufferSize: 1400, bufferFlushInterval: 5, includeDatadogTelemetry: false })
everything(buffered, 'buffered', 200)
// A datagram for which a Unix socket had no room is sent again later, after newer ones; what a gauge was last comes when all are through.
buffered.close(() => single.close(() => {
  const last = new StatsD({ ...way, includeDatadogTelemetry: false })
  for (const key of Object.keys(truth.gauges)) {
    const [name, tags] = key.split('|')
    last.gauge(name, 1000, tags.split(','))
    truth.gauges[key].push([1000, 1])
  }
  last.close(() => fs.writeFileSync(truthPath, JSON.stringify(truth)))
}))
