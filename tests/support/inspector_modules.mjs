// Runs the inspector's pure modules over the cases on standard input, for tests that compare them with Python.

import { readFileSync } from "node:fs";

const [folder, what] = process.argv.slice(2);
const module = (name) => import(`${folder}/${name}.js`);
const { cases } = JSON.parse(readFileSync(0, "utf8"));

const verdictOf = (error, { Reject, UnknownAction }) =>
  error instanceof Reject ? "rejected" : error instanceof UnknownAction ? "unknown" : "poison";

const runs = {
  async ops() {
    const ops = await module("ops");
    return cases.map(([state, op]) => {
      try {
        return ["applied", ops.applyOp(state, op)];
      } catch (error) {
        return [verdictOf(error, ops), null];
      }
    });
  },

  async replay() {
    const [{ Log }, { Replay }, { BUILT_IN }] = [await module("log"), await module("replay"), await module("reducers")];
    const log = new Log("json", "-1", 0);
    log.add(new TextEncoder().encode(JSON.stringify(cases)), "", null, false);
    const replay = new Replay(log, BUILT_IN[0]);
    const steps = [];
    for (let n = cases.length; n > 0; n--) steps.unshift(await replay.at(n));
    return steps.map(({ state, revision, verdict }) => [state, revision, verdict]);
  },

  async pages() {
    const { Log } = await module("log");
    const log = new Log("json", "-1", 0);
    for (const page of cases) log.add(new TextEncoder().encode(page), "", null, false);
    return Array.from({ length: log.count }, (_, index) => [log.positionAt(index), log.text(index)]);
  },

  async lines() {
    const { Log } = await module("log");
    const log = new Log("text", "-1", 0);
    for (const chunk of cases) log.add(new TextEncoder().encode(chunk), "", null, false);
    return Array.from({ length: log.count }, (_, index) => log.text(index));
  },

  async diff() {
    const { diff } = await module("diff");
    return cases.map(([before, after]) => diff(before, after).map(({ path, kind }) => [kind, path]));
  },

  async events() {
    const { EventParser } = await module("sse");
    const parser = new EventParser();
    return cases.flatMap((text) => parser.feed(text)).map(({ event, data }) => [event, data]);
  },

  async filter() {
    const [{ Log }, { compile }] = [await module("log"), await module("filter")];
    const { messages, queries } = cases;
    const log = new Log("json", "-1", 0);
    log.add(new TextEncoder().encode(JSON.stringify(messages)), "", null, false);
    return queries.map((query) => messages.map((_, index) => compile(query)(log, index)));
  },

  async metrics() {
    const { buckets, parseMetrics, quantile, total } = await module("metrics");
    const [before, after] = cases.map(parseMetrics);
    const spent = [before, after].map((samples) => buckets(samples, /seconds_bucket$/));
    return [total(after, /messages_total$/), quantile(spent[0], spent[1], 0.5), quantile(spent[1], spent[1], 0.5)];
  },
};

process.stdout.write(JSON.stringify(await runs[what]()));
