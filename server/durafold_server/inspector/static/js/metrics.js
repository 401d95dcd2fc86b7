// @ts-check
/** The server's own numbers, from the text that Prometheus reads, as rates and quantiles. */

const INTERVAL_MS = 2000;
const KEPT = 90;

/** @typedef {Map<string, {labels: string, value: number}[]>} Samples */

/** @param {string} text text format 0.0.4 @returns {Samples} */
export function parseMetrics(text) {
  /** @type {Samples} */
  const samples = new Map();
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)/.exec(line);
    if (!match) continue;
    const known = samples.get(match[1]) ?? [];
    known.push({ labels: match[2] ?? "", value: Number(match[3]) });
    samples.set(match[1], known);
  }
  return samples;
}

/** All values of a metric added up, null if there is none. @param {Samples} samples @param {RegExp} name */
export function total(samples, name) {
  let sum = null;
  for (const [key, values] of samples) if (name.test(key)) for (const { value } of values) sum = (sum ?? 0) + value;
  return sum;
}

/** Counts per upper bound of a histogram. @param {Samples} samples @param {RegExp} name @returns {[number, number][]} */
export function buckets(samples, name) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const [key, values] of samples) {
    if (!name.test(key)) continue;
    for (const { labels, value } of values) {
      const bound = /le="([^"]+)"/.exec(labels)?.[1] ?? "";
      const upper = bound === "+Inf" ? Infinity : Number(bound);
      counts.set(upper, (counts.get(upper) ?? 0) + value);
    }
  }
  return [...counts].sort((a, b) => a[0] - b[0]);
}

/** The value below which a part of what came between two looks lies. @param {[number, number][]} before @param {[number, number][]} after @param {number} part */
export function quantile(before, after, part) {
  const earlier = new Map(before);
  const counts = after.map(([bound, count]) => /** @type {const} */ ([bound, count - (earlier.get(bound) ?? 0)]));
  const all = counts.length ? counts[counts.length - 1][1] : 0;
  if (all <= 0) return null;
  let [low, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= part * all) {
      if (bound === Infinity) return low;
      return low + (bound - low) * ((part * all - below) / Math.max(1, count - below));
    }
    [low, below] = [bound, count];
  }
  return low;
}

/** @typedef {{appends: number | null, messages: number | null, readers: number | null, p50: number | null, p99: number | null}} Point */

/** Per second; a server that was restarted counts from 0 again. @param {number | null} before @param {number | null} now @param {number} seconds */
const rate = (before, now, seconds) => (before === null || now === null ? null : Math.max(0, now - before) / seconds);

const APPENDS = /^durafold_appends_total$/;
const MESSAGES = /^durafold_messages_total$/;
const READERS = /^durafold_readers$/;
const LATENCY = /^durafold_append_seconds_bucket$/;

export class Metrics {
  /** @param {import("./client.js").Client} client @param {() => void} onchange */
  constructor(client, onchange) {
    this.client = client;
    this.onchange = onchange;
    /** @type {Point[]} */
    this.points = [];
    this.available = false;
    /** @type {{at: number, appends: number | null, messages: number | null, latency: [number, number][]} | null} */
    this.last = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** Look now, and go on while the page can be seen. */
  async start() {
    clearTimeout(this.timer);
    try {
      if (!document.hidden) this.look(parseMetrics(await (await this.client.send("../metrics")).text()));
      this.available = true;
      this.timer = setTimeout(() => this.start(), INTERVAL_MS);
    } catch {
      this.available = false; // no such route, or not for this visitor: the charts stay away
    }
    this.onchange();
  }

  /** @param {Samples} samples */
  look(samples) {
    const now = {
      at: performance.now(),
      appends: total(samples, APPENDS),
      messages: total(samples, MESSAGES),
      latency: buckets(samples, LATENCY),
    };
    const last = this.last;
    this.last = now;
    if (!last) return;
    const seconds = (now.at - last.at) / 1000;
    this.points.push({
      appends: rate(last.appends, now.appends, seconds),
      messages: rate(last.messages, now.messages, seconds),
      readers: total(samples, READERS),
      p50: quantile(last.latency, now.latency, 0.5),
      p99: quantile(last.latency, now.latency, 0.99),
    });
    if (this.points.length > KEPT) this.points.shift();
  }
}
