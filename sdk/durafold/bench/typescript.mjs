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
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  say({ done: true, result: await measures[command.do](command) });
}
