// @ts-check
/**
 * Which messages to show: words that a message must hold, and `path=value` or `path!=value` for parts of JSON
 * (`type=add`, `meta.by=nadia`, `payload.done!=true`). All must hold.
 */

import { breathe } from "./dom.js";
import { stringify } from "./json.js";

const SLICE_MS = 12;
const CONDITION = /^([\w$][\w$.-]*)(!?=)(.*)$/;

/** @param {string} query @returns {((log: import("./log.js").Log, index: number) => boolean) | null} null: all pass */
export function compile(query) {
  const parts = query.trim().split(/\s+/).filter(Boolean).map(condition);
  return parts.length ? (log, index) => parts.every((part) => part(log, index)) : null;
}

/** @param {string} part @returns {(log: import("./log.js").Log, index: number) => boolean} */
function condition(part) {
  const match = CONDITION.exec(part);
  if (!match) {
    const word = part.toLowerCase();
    return (log, index) => log.text(index).toLowerCase().includes(word);
  }
  const [, path, sign, wanted] = match;
  const steps = path.split(".");
  return (log, index) => {
    if (log.mode !== "json") return log.text(index).includes(part);
    let value = log.value(index);
    for (const step of steps) value = value?.[step];
    const text = typeof value === "string" ? value : stringify(value);
    return (value !== undefined && text === wanted) === (sign === "=");
  };
}

/** Indexes of the messages that pass, found in slices and kept up to date. */
export class Filter {
  /** @param {import("./log.js").Log} log @param {string} query @param {() => void} onchange */
  constructor(log, query, onchange) {
    this.log = log;
    this.test = compile(query);
    this.onchange = onchange;
    /** @type {number[]} */
    this.found = [];
    this.looked = 0;
    this.working = false;
    this.disposed = false;
  }

  get isActive() {
    return this.test !== null;
  }

  get isComplete() {
    return this.looked >= this.log.count;
  }

  get count() {
    return this.test ? this.found.length : this.log.count;
  }

  /** Index in the log of a row. @param {number} row */
  indexOf(row) {
    return this.test ? this.found[row] : row;
  }

  /** Row of an index in the log, -1 if it is not shown. @param {number} index */
  rowOf(index) {
    return this.test ? this.found.indexOf(index) : index;
  }

  /** Look at what has come since. */
  async update() {
    if (!this.test || this.working) return this.onchange();
    this.working = true;
    while (!this.isComplete && !this.disposed) {
      const deadline = performance.now() + SLICE_MS;
      while (!this.isComplete && performance.now() < deadline) {
        if (this.test(this.log, this.looked)) this.found.push(this.looked);
        this.looked++;
      }
      if (!this.disposed) this.onchange();
      await breathe();
    }
    this.working = false;
  }

  dispose() {
    this.disposed = true;
  }
}
