'use strict'
// One trace of 30,000 spans. Writes its truth to the file named as argument.

const { traced, writeTruth } = require('./traced')

traced('import.run', { resource: 'nightly' }, () => {
  for (let day = 0; day < 131; day++) {
    traced('import.day', { resource: `day ${day}`, tags: { day: String(day) } }, () => {
      for (let row = 0; row < 228; row++) {
        traced('import.row', { resource: `row ${row}`, type: 'worker', metrics: { row } }, () => {})
      }
    })
  }
})
writeTruth(process.argv[2])
