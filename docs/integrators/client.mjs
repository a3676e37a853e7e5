// A gateway in one page of JavaScript (Node 18 or newer, no packages): delivers readings.csv to the platform.
//   METERING_API_URL   the platform's base URL        METERING_TOKEN          the issued token.json
//   METERING_READINGS  device,timestamp,sensor,value  METERING_GATEWAY_STATE  a folder that survives a restart
import fs from "node:fs";
import path from "node:path";

const api = process.env.METERING_API_URL + "/api/v1";
const state = process.env.METERING_GATEWAY_STATE;
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const file = (name) => path.join(state, name);
const unknown = new Set(); // devices that the platform does not know; a program that runs on tries them hourly
let failures = 0;

function writeDurably(name, text) { // whole or not at all, and on the disk when this returns
  const handle = fs.openSync(file(name + ".new"), "w", 0o600);
  fs.writeSync(handle, text);
  fs.fsyncSync(handle);
  fs.closeSync(handle);
  fs.renameSync(file(name + ".new"), file(name));
}

function readMeasures() { // lines of one device and time that follow each other are one measure
  const measures = [];
  for (const line of fs.readFileSync(process.env.METERING_READINGS, "utf8").trim().split("\n").slice(1)) {
    const [device, at, sensorName, value] = line.split(",");
    const last = measures.at(-1);
    const sensorValue = Number(value);
    if (last && last.device === device && last.timestamp === Number(at)) last.sensorValues.push({ sensorName, sensorValue });
    else measures.push({ device, timestamp: Number(at), sensorValues: [{ sensorName, sensorValue }] });
  }
  return measures;
}

async function call(method, url, headers, body) { // status 0: no answer came
  try {
    const signal = AbortSignal.timeout(30_000);
    const answer = await fetch(api + url, { method, headers, body, signal, redirect: "manual" });
    const text = await answer.text();
    let document = {};
    try { document = JSON.parse(text); } catch { /* a proxy's page */ }
    return { status: answer.status, document, retryAfter: Number(answer.headers.get("retry-after")) };
  } catch { return { status: 0, document: {}, retryAfter: 0 }; }
}

async function pause(answer) { // what the platform asks for, else doubling; always with chance
  const own = Math.min(300, 2 ** failures++);
  await sleep(answer.retryAfter ? answer.retryAfter + Math.random() : own * (0.5 + Math.random() / 2));
}

async function refresh() { // the same refresh token until an answer comes; the new pair on the disk before it is used
  for (;;) {
    const held = JSON.parse(fs.readFileSync(fs.existsSync(file("token.json")) ? file("token.json") : process.env.METERING_TOKEN));
    const headers = { accept: "application/json", "content-type": "application/json" };
    const answer = await call("POST", "/auth/token/refresh", headers, JSON.stringify({ refreshToken: held.refreshToken }));
    if (answer.status === 200 && answer.document.accessToken) {
      writeDurably("token.json", JSON.stringify(answer.document));
      return answer.document.accessToken;
    }
    if (answer.status === 401 && answer.document.code) throw new Error("the token is no longer good: have a new one issued");
    await pause(answer);
  }
}

let access = null;

async function post(measures) {
  const devices = [...new Set(measures.map((m) => m.device))];
  const body = devices.map((deviceNumber) => ({
    deviceNumber,
    measures: measures.filter((m) => m.device === deviceNumber).map(({ timestamp, sensorValues }) => ({ timestamp, sensorValues })),
  }));
  access ??= await refresh();
  const headers = { accept: "application/json", "content-type": "application/json", authorization: "Bearer " + access };
  return { devices, ...(await call("POST", "/measurements", headers, JSON.stringify(body))) };
}

async function deliver(measures) { // returns when the platform has them, or they are set aside
  while (measures.length) {
    const answer = await post(measures);
    if (answer.status === 201) { failures = 0; return; }
    if (answer.status === 401) access = null;
    else if (answer.document.code === "devices_unknown") {
      for (const { pointer } of answer.document.errors) unknown.add(answer.devices[Number(pointer.split("/")[1])]);
      setAside("unknown.jsonl", measures.filter((m) => unknown.has(m.device)));
      measures = measures.filter((m) => !unknown.has(m.device));
    } else if ([400, 413, 422].includes(answer.status) && measures.length > 1) {
      const middle = measures.length >> 1;
      await deliver(measures.slice(0, middle));
      measures = measures.slice(middle);
    } else if ([400, 413, 422].includes(answer.status)) {
      setAside("refused.jsonl", measures.map((m) => ({ ...m, answer: answer.document })));
      return;
    } else await pause(answer);
  }
}

function setAside(name, measures) {
  for (const measure of measures) fs.appendFileSync(file(name), JSON.stringify(measure) + "\n", { flush: true });
}

const measures = readMeasures();
let done = fs.existsSync(file("done")) ? Number(fs.readFileSync(file("done"))) : 0;
while (done < measures.length) {
  let end = done, low = Infinity, high = -Infinity;
  while (end < measures.length && end - done < 100) { // at most 100 measures within a day
    low = Math.min(low, measures[end].timestamp);
    high = Math.max(high, measures[end].timestamp);
    if (high - low > 86_400) break;
    end++;
  }
  const known = measures.slice(done, end).filter((m) => !unknown.has(m.device));
  setAside("unknown.jsonl", measures.slice(done, end).filter((m) => unknown.has(m.device)));
  await deliver(known);
  writeDurably("done", String((done = end)));
}
