// @ts-check
/**
 * Folding a log to any place, as a client does: second copies skipped, compare-and-set checked, failures
 * contained (`durafold/state/replica.py`). States share their untouched parts, so a keyframe every 256
 * messages costs little, and a step folds at most that many.
 */

import { breathe } from "./dom.js";
import { envelopeOf } from "./envelope.js";
import { Reject, UnknownAction } from "./ops.js";

const INTERVAL = 256;
const SLICE_MS = 12;
const MAX_FAULTS = 500;
const MAX_SEEN_CLIENTS = 4096;

/** @typedef {"applied" | "rejected" | "poison" | "unknown" | "conflict" | "duplicate"} Verdict */
/** @typedef {{position: number, verdict: Verdict, reason: string}} Fault position is that of the message */
/** @typedef {{state: any, before: any, revision: number, verdict: Verdict | null, reason: string}} Step */

class Fold {
  /** @param {any} state @param {number} revision @param {Map<string, number>} seen */
  constructor(state, revision, seen) {
    this.state = state;
    this.revision = revision;
    this.seen = seen;
  }

  copy() {
    return new Fold(this.state, this.revision, new Map(this.seen));
  }

  /**
   * @param {import("./reducers.js").Reducer} reducer @param {any} message
   * @returns {{verdict: Verdict, reason: string}}
   */
  take(reducer, message) {
    const envelope = envelopeOf(message);
    if (envelope.id && !this.isNew(envelope.id)) return { verdict: "duplicate", reason: "a second copy of an action" };
    if (envelope.ifRevision !== null && envelope.ifRevision !== this.revision) {
      return { verdict: "conflict", reason: `it asked for revision ${envelope.ifRevision}, this is ${this.revision}` };
    }
    try {
      this.state = reducer.step(this.state, envelope);
    } catch (error) {
      const verdict = error instanceof Reject ? "rejected" : error instanceof UnknownAction ? "unknown" : "poison";
      return { verdict, reason: error instanceof Error ? error.message : String(error) };
    }
    this.revision++;
    return { verdict: "applied", reason: "" };
  }

  /** @param {{client: string, n: number}} id */
  isNew({ client, n }) {
    if (n <= (this.seen.get(client) ?? -1)) return false;
    this.seen.delete(client);
    this.seen.set(client, n);
    if (this.seen.size > MAX_SEEN_CLIENTS) this.seen.delete(this.seen.keys().next().value ?? "");
    return true;
  }
}

export class Replay {
  /** @param {import("./log.js").Log} log that begins at the stream's start @param {import("./reducers.js").Reducer} reducer */
  constructor(log, reducer) {
    this.log = log;
    this.reducer = reducer;
    this.keyframes = [new Fold(reducer.initial, 0, new Map())];
    /** @type {Fault[]} */
    this.faults = [];
    this.scanned = 0;
    this.disposed = false;
  }

  /** The state after the first `n` messages, and what the last of them did. @param {number} n @returns {Promise<Step>} */
  async at(n) {
    if (n > this.scanned) await this.scan(n);
    if (n === 0) return { state: this.reducer.initial, before: undefined, revision: 0, verdict: null, reason: "" };
    const start = Math.floor((n - 1) / INTERVAL);
    const fold = this.keyframes[start].copy();
    for (let i = start * INTERVAL; i < n - 1; i++) fold.take(this.reducer, this.log.value(i));
    const before = fold.state;
    const { verdict, reason } = fold.take(this.reducer, this.log.value(n - 1));
    return { state: fold.state, before, revision: fold.revision, verdict, reason };
  }

  /** Fold on to the `n`-th message, in slices, noting what was not applied. @param {number} n */
  async scan(n) {
    while (this.scanned < n && !this.disposed) {
      const deadline = performance.now() + SLICE_MS;
      while (this.scanned < n && performance.now() < deadline) this.scanBlock();
      await breathe();
    }
  }

  /** Up to the next keyframe, or the end of what there is. */
  scanBlock() {
    const from = Math.floor(this.scanned / INTERVAL) * INTERVAL;
    const until = Math.min(from + INTERVAL, this.log.count);
    const fold = this.keyframes[from / INTERVAL].copy();
    for (let i = from; i < until; i++) {
      const { verdict, reason } = fold.take(this.reducer, this.log.value(i));
      if (verdict !== "applied" && i >= this.scanned && this.faults.length < MAX_FAULTS) {
        this.faults.push({ position: i, verdict, reason });
      }
    }
    this.scanned = until;
    if (until === from + INTERVAL) this.keyframes[until / INTERVAL] = fold;
  }

  dispose() {
    this.disposed = true;
  }
}
