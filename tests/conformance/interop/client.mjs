// What the official TypeScript packages do with our server, told as one JSON object on standard output.
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
import { MaterializedState, createStateSchema, isChangeEvent } from "@durable-streams/state";

const base = process.env.STREAMS_URL;
const contentType = "application/json";
const seen = {};

// Create, append, read, and go on from an offset.
const plain = await DurableStream.create({ url: `${base}/plain`, contentType });
await plain.append(JSON.stringify({ n: 1 }));
await plain.append(JSON.stringify([2, "€"]));
const first = await stream({ url: plain.url, offset: "-1", live: false });
seen.read = await first.json();
await plain.append(JSON.stringify(3));
const rest = await stream({ url: plain.url, offset: first.offset, live: false });
seen.resumed = await rest.json();

// Follow both ways while a producer writes and closes.
for (const live of ["long-poll", "sse"]) {
  const url = `${base}/${live}`;
  const followed = await DurableStream.create({ url, contentType });
  const response = await stream({ url, offset: "-1", live });
  const received = [];
  response.subscribeJson(async (batch) => {
    received.push(...batch.items);
  });
  const producer = new IdempotentProducer(followed, "interop", { maxInFlight: 3, lingerMs: 0 });
  for (let n = 0; n < 20; n++) producer.append(JSON.stringify(n));
  await producer.flush();
  await producer.close(JSON.stringify("end"));
  await response.closed;
  seen[live] = received;
}

// A stream that we wrote rows into, and rows for us to read.
const ours = await stream({ url: `${base}/rows-of-python`, offset: "-1", live: false });
const state = new MaterializedState();
for (const event of await ours.json()) if (isChangeEvent(event)) state.apply(event);
seen.rows = Object.fromEntries(state.getType("user"));

const anything = { "~standard": { version: 1, vendor: "interop", validate: (value) => ({ value }) } };
const schema = createStateSchema({ users: { schema: anything, type: "user", primaryKey: "id" } });
const rows = await DurableStream.create({ url: `${base}/rows-of-node`, contentType });
await rows.append(JSON.stringify(schema.users.insert({ value: { id: "1", name: "Ann" } })));
await rows.append(JSON.stringify(schema.users.upsert({ value: { id: "2", name: "Bob" }, headers: { txid: "t" } })));

console.log(JSON.stringify(seen));
process.exit(0);
