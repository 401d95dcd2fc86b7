// @ts-check
/** Reading one stream: pages up to the tail, then events, again and again until it ends or is paused. */

import { Refused } from "./client.js";
import { events } from "./sse.js";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;

/**
 * What ends the readers of this page. Browsers keep a page for the way back, its connections included, and
 * allow six of them to a server: without this, a few ways forward would leave none for the next page.
 * @type {Set<AbortController>}
 */
const connected = new Set();

addEventListener("pagehide", () => {
  for (const reader of connected) reader.abort();
});
addEventListener("pageshow", (event) => event.persisted && location.reload());

/** @typedef {"loading" | "live" | "paused" | "reconnecting" | "closed" | "failed"} Status */

export class Follower {
  /**
   * @param {import("./client.js").Client} client
   * @param {string} path
   * @param {string} offset to begin at
   * @param {{page(data: Uint8Array, next: string, live: boolean): void,
   *          status(status: Status, error?: unknown): void}} listener
   */
  constructor(client, path, offset, listener) {
    this.client = client;
    this.path = path;
    this.offset = offset;
    this.listener = listener;
    /** @type {AbortController | null} */
    this.running = null;
  }

  /** Read on from where it stopped. */
  start() {
    if (this.running) return;
    const reader = (this.running = new AbortController());
    connected.add(reader);
    this.run(reader.signal).finally(() => connected.delete(reader));
  }

  /** Read no further; `start` goes on. @param {Status} [status] */
  stop(status = "paused") {
    if (!this.running) return;
    this.running.abort();
    this.running = null;
    this.listener.status(status);
  }

  /** @param {AbortSignal} signal */
  async run(signal) {
    let waitMs = FIRST_RETRY_MS;
    let isBehind = true;
    while (!signal.aborted) {
      try {
        if (isBehind && (await this.catchUp(signal))) return this.end("closed");
        isBehind = false; // servers end a connection once a minute: the next one goes on where it ended
        if (await this.tail(signal)) return this.end("closed");
        waitMs = FIRST_RETRY_MS;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused && error.status < 500) return this.end("failed", error);
        isBehind = true;
        this.listener.status("reconnecting", error);
        await new Promise((resolve) => setTimeout(resolve, waitMs * (0.5 + Math.random() / 2)));
        waitMs = Math.min(waitMs * 2, LAST_RETRY_MS);
      }
    }
  }

  /** @param {Status} status @param {unknown} [error] */
  end(status, error) {
    this.running = null;
    this.listener.status(status, error);
  }

  /** Pages until the tail; whether the stream ends there. @param {AbortSignal} signal */
  async catchUp(signal) {
    this.listener.status("loading");
    for (;;) {
      const page = await this.client.read(this.path, this.offset, signal);
      if (signal.aborted) return false;
      this.take(page.data, page.next, false);
      if (page.closed) return true;
      if (page.upToDate) return false;
    }
  }

  /** Events until the connection ends; whether the stream has ended. @param {AbortSignal} signal */
  async tail(signal) {
    const response = await this.client.follow(this.path, this.offset, signal);
    const decode = response.headers.get("stream-sse-data-encoding") === "base64" ? fromBase64 : toBytes;
    this.listener.status("live");
    let data = new Uint8Array();
    for await (const event of events(response)) {
      if (event.event === "data") data = decode(event.data);
      if (event.event !== "control") continue;
      const control = JSON.parse(event.data);
      this.take(data, control.streamNextOffset, true);
      data = new Uint8Array();
      if (control.streamClosed) return true;
    }
    return false;
  }

  /** @param {Uint8Array} data @param {string} next @param {boolean} live */
  take(data, next, live) {
    this.offset = next;
    this.listener.page(data, next, live);
  }
}

const encoder = new TextEncoder();

/** @param {string} text */
const toBytes = (text) => encoder.encode(text);

/** @param {string} text */
function fromBase64(text) {
  const binary = atob(text.replace(/\s/g, ""));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
