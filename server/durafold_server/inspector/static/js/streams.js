// @ts-check
/**
 * Which streams there are: from the server's listing, else from the stream `__registry__`, else those that
 * were looked at in this browser. Kept up to date by following the registry.
 */

import { Refused } from "./client.js";
import { parse } from "./json.js";
import { Follower } from "./live.js";
import { recentStreams } from "./settings.js";

const PAGE = 1000;
const MAX_STREAMS = 20_000;
const SETTLE_MS = 300;
const REGISTRY = "__registry__";

/**
 * @typedef {object} Stream
 * @property {string} path
 * @property {string} contentType empty if unknown
 * @property {number | null} bytes
 * @property {boolean} closed
 * @property {string | null} forkedFrom
 * @property {string | null} lifetime
 */

/** @typedef {"listing" | "registry" | "recent"} Source */

export class Streams {
  /** @param {import("./client.js").Client} client @param {() => void} onchange */
  constructor(client, onchange) {
    this.client = client;
    this.onchange = onchange;
    /** @type {Map<string, Stream>} */
    this.all = new Map();
    /** @type {Source} */
    this.source = "recent";
    /** @type {Follower | null} */
    this.follower = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /** Ask again, from the best source there is. */
  async refresh() {
    for (const source of /** @type {Source[]} */ (["listing", "registry", "recent"])) {
      try {
        this.all = new Map((await this.load(source)).map((stream) => [stream.path, stream]));
        this.source = source;
        break;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
      }
    }
    this.follow();
    this.onchange();
  }

  /** Ask again soon, once for many changes. */
  refreshSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh().catch(() => {}), SETTLE_MS);
  }

  /** @param {Source} source @returns {Promise<Stream[]>} */
  load(source) {
    if (source === "listing") return this.fromListing();
    return source === "registry" ? this.fromRegistry() : Promise.resolve(recentStreams().map(unknown));
  }

  async fromListing() {
    const found = [];
    let after = "";
    for (;;) {
      const query = new URLSearchParams({ limit: String(PAGE), ...(after ? { after } : {}) });
      const answer = await (await this.client.send(`${this.client.root}/?${query}`)).json();
      found.push(...answer.streams.map(listed));
      if (!answer.next || found.length >= MAX_STREAMS) return found;
      after = answer.next;
    }
  }

  async fromRegistry() {
    /** @type {Map<string, Stream>} */
    const found = new Map();
    let offset = "-1";
    for (;;) {
      const page = await this.client.read(REGISTRY, offset);
      for (const change of parse(new TextDecoder().decode(page.data))) applyChange(found, change);
      offset = page.next;
      if (page.upToDate) return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
    }
  }

  /** Hear of changes from the registry, if there is one. */
  follow() {
    if (this.follower || this.source === "recent") return;
    const page = (/** @type {Uint8Array} */ data) => data.length > 2 && this.refreshSoon();
    this.follower = new Follower(this.client, REGISTRY, "now", { page, status: () => {} });
    this.follower.start();
  }

  /** A stream has this size by now. @param {string} path @param {number} bytes */
  measured(path, bytes) {
    const stream = this.all.get(path);
    if (!stream || stream.bytes === null || stream.bytes === bytes) return;
    stream.bytes = bytes;
    this.onchange();
  }

  stop() {
    clearTimeout(this.timer);
    this.follower?.stop();
    this.follower = null;
  }
}

/** @param {any} row @returns {Stream} */
function listed(row) {
  const expiry = row.expires_at ? `expires ${row.expires_at}` : null;
  return {
    path: row.path,
    contentType: row.content_type ?? "",
    bytes: row.bytes ?? null,
    closed: Boolean(row.closed),
    forkedFrom: row.forked_from ?? null,
    lifetime: row.ttl_s ? `TTL ${row.ttl_s} s` : expiry,
  };
}

/** @param {string} path @returns {Stream} */
function unknown(path) {
  return { path, contentType: "", bytes: null, closed: false, forkedFrom: null, lifetime: null };
}

/** @param {Map<string, Stream>} streams @param {any} change of the State Protocol */
function applyChange(streams, change) {
  if (change?.type !== "stream" || typeof change.key !== "string") return;
  const operation = change.headers?.operation;
  if (operation === "delete") streams.delete(change.key);
  else {
    const value = change.value ?? {};
    streams.set(change.key, { ...unknown(change.key), contentType: value.contentType ?? "", closed: Boolean(value.closed) });
  }
}
