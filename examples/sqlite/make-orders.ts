import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createCsvParser } from '../csv-stats/src/csv-parser.ts'

/** Makes orders.sqlite of ../csv-stats/sample.csv: `node make-orders.ts [<output>]`. */
const output = process.argv[2] ?? join(import.meta.dirname, 'orders.sqlite')
rmSync(output, { force: true })
const db = new DatabaseSync(output)
db.exec(`
  CREATE TABLE orders (
    id INTEGER PRIMARY KEY, date TEXT, customer TEXT, postcode TEXT, item TEXT,
    quantity INTEGER, unit_price REAL, discount REAL, paid INTEGER, note TEXT
  ) STRICT;
  CREATE INDEX orders_by_item ON orders (item);
  BEGIN;
`)
const insert = db.prepare('INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
const numberOf = (text: string | undefined) => (text ? Number(text) : null)
const parser = createCsvParser({
  delimiter: ',',
  fieldLengthMax: 10_000,
  fieldsMax: 10,
  onRecord([id, date, customer, postcode, item, quantity, price, discount, paid, note], line) {
    if (line === 1) return
    const texts = [date, customer, postcode, item].map((text) => text || null)
    const numbers = [quantity, price, discount].map(numberOf)
    insert.run(Number(id), ...texts, ...numbers, paid === 'true' ? 1 : 0, note || null)
  },
})
parser.write(readFileSync(join(import.meta.dirname, '../csv-stats/sample.csv'), 'utf8'))
parser.end()
db.exec('COMMIT; VACUUM;')
db.close()
