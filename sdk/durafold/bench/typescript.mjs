// The npm packages @durable-streams/client and, for rows, @durable-streams/state under measurement: a command as a line of JSON in, one or more lines of JSON out.
import { createInterface } from "node:readline";
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";

const contentType = "application/json";
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
// The clock of Python's time.perf_counter on Linux.
const now_s = () => Number(process.hrtime.bigint()) / 1e9;

const measures = {
  async append({ url, count }) {
    const handle = new DurableStream({ url, contentType, batching: false });
    for (let n = 0; n < count; n++) await handle.append(JSON.stringify({ n }));
  },

  async produce({ url, count }) {
    const producer = new IdempotentProducer(new DurableStream({ url, contentType }), "bench", { lingerMs: 0 });
    for (let n = 0; n < count; n++) producer.append(JSON.stringify({ n }));
    await producer.flush();
  },

  async catch_up({ url }) {
    const response = await stream({ url, offset: "-1", live: false });
    return (await response.json()).length;
  },

  async live({ url }) {
    const response = await stream({ url, offset: "-1", live: "sse" });
    response.subscribeJson(async (batch) => {
      const came_s = now_s();
      for (const item of batch.items) say({ item, came_s });
    });
    say({ started: true });
    await response.closed;
  },

  async fold_dict({ count }) {
    const messages = JSON.parse(logOf(count));
    return cpu_us(() => fold(messages)) / count;
  },

  async fold_dict_json({ count }) {
    const text = logOf(count);
    return cpu_us(() => fold(JSON.parse(text))) / count;
  },

  async materialize({ count }) {
    const { MaterializedState, isChangeEvent } = await import("@durable-streams/state");
    const changes = Array.from({ length: count }, (_, n) => ({
      type: "user",
      key: String(n % 1000),
      value: { name: "Ann", n },
      headers: { operation: "upsert" },
    }));
    return cpu_us(() => {
      const state = new MaterializedState();
      for (const change of changes) if (isChangeEvent(change)) state.apply(change);
    }) / count;
  },

  async cold({ url }) {
    const started_s = now_s();
    const response = await stream({ url, offset: "-1", live: false });
    fold(await response.json());
    return (now_s() - started_s) * 1000;
  },

  async confirmed({ url, count }) {
    const { handle, replica, leave } = await follow(url);
    const taken_ms = [];
    for (let n = 1; n <= count; n++) {
      const started_s = now_s();
      const came = replica.until(n);
      await handle.append(JSON.stringify(action));
      await came;
      taken_ms.push((now_s() - started_s) * 1000);
    }
    await leave();
    return taken_ms.sort((a, b) => a - b)[Math.floor(count / 2)];
  },

  async burst({ url, count }) {
    const { handle, replica, leave } = await follow(url);
    const producer = new IdempotentProducer(handle, "bench", { lingerMs: 0 });
    const started_s = now_s();
    const came = replica.until(count);
    for (let n = 0; n < count; n++) producer.append(JSON.stringify(action));
    await came;
    const taken_s = now_s() - started_s;
    await producer.flush();
    await leave();
    return count / taken_s;
  },
};

const action = { type: "add", by: 1 };
const tally = (state, action) => ({ ...state, count: state.count + action.by });
const fold = (messages) => messages.reduce((state, { payload }) => tally(state, payload), { count: 0, name: "bench" });

function logOf(count) {
  const messages = Array.from({ length: count }, (_, n) => ({
    type: "action",
    payload: { type: "add", by: n % 7 },
    meta: { id: `client${n % 3}:${n + 1}`, v: 1, ts: n },
  }));
  return JSON.stringify(messages);
}

function cpu_us(work) {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

// A count that follows a stream, written by hand.
async function follow(url) {
  const handle = new DurableStream({ url, contentType, batching: false });
  const ending = new AbortController();
  const response = await stream({ url, offset: "-1", live: "sse", signal: ending.signal });
  const replica = { state: { count: 0, name: "bench" }, waiting: [] };
  replica.until = (count) => new Promise((resolve) => replica.waiting.push({ count, resolve }));
  response.subscribeJson(async ({ items }) => {
    replica.state = items.reduce(tally, replica.state);
    const isThere = ({ count }) => count <= replica.state.count;
    for (const { resolve } of replica.waiting.filter(isThere)) resolve();
    replica.waiting = replica.waiting.filter((entry) => !isThere(entry));
  });
  const leave = async () => {
    ending.abort();
    await response.closed.catch(() => {});
  };
  return { handle, replica, leave };
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  say({ done: true, result: await measures[command.do](command) });
}
