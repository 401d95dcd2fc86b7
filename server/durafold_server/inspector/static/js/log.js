// @ts-check
/**
 * What was read of one stream, as bytes in one growing buffer, and where its messages (or lines, or rows of
 * bytes) begin. Nothing is decoded before somebody looks at it.
 */

import { parse } from "./json.js";
import { elementEnds } from "./split.js";

const COMMA = 44;
const NEWLINE = 10;
export const HEX_WIDTH = 16;

/** @typedef {"json" | "text" | "binary"} Mode */

/** @param {string} contentType @returns {Mode} */
export function modeOf(contentType) {
  const kind = contentType.split(";")[0].trim().toLowerCase();
  if (kind === "application/json") return "json";
  return kind.startsWith("text/") ? "text" : "binary";
}

const decoder = new TextDecoder();

export class Log {
  /** @param {Mode} mode @param {string} from offset that it begins at @param {number} position of that offset */
  constructor(mode, from, position) {
    this.mode = mode;
    this.from = from;
    this.position = position;
    this.next = from;
    this.buffer = new Uint8Array(1 << 16);
    this.length = 0;
    /** Where items begin. @type {number[]} */
    this.starts = [];
    /** Local time of arrival, for what came live. @type {Map<number, number>} */
    this.arrivals = new Map();
    /** Whether positions can be trusted: what came was byte for byte what is stored. */
    this.exact = true;
  }

  /** How many messages, lines, or rows of sixteen bytes. */
  get count() {
    return this.mode === "binary" ? Math.ceil(this.length / HEX_WIDTH) : this.starts.length;
  }

  /**
   * Take what was read.
   * @param {Uint8Array} data as the server sent it
   * @param {string} next offset behind it
   * @param {number | null} position of that offset
   * @param {boolean} live whether it arrived just now
   */
  add(data, next, position, live) {
    const before = this.starts.length;
    if (this.mode === "json") this.addMessages(data);
    else this.addBytes(data);
    this.next = next;
    if (position !== null && this.position + this.length !== position) this.exact = false;
    if (live && this.mode === "json") {
      const now = Date.now();
      for (let i = before; i < this.starts.length; i++) this.arrivals.set(i, now);
    }
  }

  /** @param {Uint8Array} page */
  addMessages(page) {
    const ends = elementEnds(page);
    if (!ends.length) return;
    const base = this.length - 1; // the page's bytes come without its opening bracket
    let start = 1;
    for (const end of ends) {
      this.starts.push(base + start);
      start = end + 1;
    }
    this.write(page.subarray(1, ends[ends.length - 1] + 1));
    this.buffer[this.length - 1] = COMMA; // in place of the closing bracket: the stored form
  }

  /** @param {Uint8Array} data */
  addBytes(data) {
    if (this.mode === "text" && data.length) {
      if (!this.length) this.starts.push(0);
      else if (this.buffer[this.length - 1] === NEWLINE) this.starts.push(this.length);
      for (let i = data.indexOf(NEWLINE); i >= 0 && i < data.length - 1; i = data.indexOf(NEWLINE, i + 1)) {
        this.starts.push(this.length + i + 1);
      }
    }
    this.write(data);
  }

  /** @param {Uint8Array} data */
  write(data) {
    if (this.length + data.length > this.buffer.length) {
      const larger = new Uint8Array(Math.max(this.buffer.length * 2, this.length + data.length));
      larger.set(this.buffer.subarray(0, this.length));
      this.buffer = larger;
    }
    this.buffer.set(data, this.length);
    this.length += data.length;
  }

  /** Where an item begins in the buffer. @param {number} index */
  startOf(index) {
    if (this.mode === "binary") return Math.min(index * HEX_WIDTH, this.length);
    return index < this.starts.length ? this.starts[index] : this.length;
  }

  /** Bytes of an item, without what separates it from the next. @param {number} index */
  bytes(index) {
    const end = this.startOf(index + 1);
    const separated = this.mode === "json" || (this.mode === "text" && this.buffer[end - 1] === NEWLINE);
    return this.buffer.subarray(this.startOf(index), separated ? end - 1 : end);
  }

  /** @param {number} index */
  text(index) {
    return decoder.decode(this.bytes(index));
  }

  /** The message as a value. @param {number} index */
  value(index) {
    return parse(this.text(index));
  }

  /** Position in the stream's bytes where an item begins. @param {number} index */
  positionAt(index) {
    return this.position + this.startOf(index);
  }

  /** The item that begins at or holds a position, -1 if it was not read. @param {number} position */
  indexAt(position) {
    const wanted = position - this.position;
    if (wanted < 0 || wanted > this.length) return -1;
    if (this.mode === "binary") return Math.min(Math.floor(wanted / HEX_WIDTH), this.count - 1);
    let [low, high] = [0, this.starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= wanted) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** Everything that was read, in the stream's own form. */
  whole() {
    return this.buffer.subarray(0, this.length);
  }
}
