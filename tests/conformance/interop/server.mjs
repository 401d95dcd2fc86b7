// The protocol's reference server, on a port of the system's choice, until its standard input ends.
import { DurableStreamTestServer } from "@durable-streams/server";

const server = new DurableStreamTestServer({ port: 0, longPollTimeout: 500 });
await server.start();
console.log(server.url);

process.stdin.resume();
process.stdin.on("end", async () => {
  await server.stop();
  process.exit(0);
});
