// @ts-check
/** The list of streams as a tree by `/`, searchable, as virtual rows. */

import { fill, h, icon } from "./dom.js";
import { bytes, readable } from "./format.js";
import { modeOf } from "./log.js";
import { Rows } from "./rows.js";

/** @typedef {{label: string, depth: number, folder: string | null, open: boolean, inside: number, stream: import("./streams.js").Stream | null}} Line */

const ROW_PX = 30;

export class StreamTree {
  /** @param {(path: string) => void} onopen */
  constructor(onopen) {
    this.onopen = onopen;
    /** @type {import("./streams.js").Stream[]} */
    this.streams = [];
    /** @type {Line[]} */
    this.lines = [];
    this.search = "";
    this.current = "";
    /** @type {Set<string>} */
    this.closed = new Set();
    this.rows = new Rows({
      label: "Streams",
      rowHeight: ROW_PX,
      render: (index) => this.render(this.lines[index]),
      onselect: (index) => this.activate(index),
    });
    this.element = this.rows.element;
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.pressed(event));
  }

  /** @param {Iterable<import("./streams.js").Stream>} streams */
  show(streams) {
    const before = this.streams;
    this.streams = [...streams].sort((a, b) => (a.path < b.path ? -1 : 1));
    if (!looksAlike(before, this.streams)) return this.layOut();
    this.lines = this.linesNow();
    this.showSizes();
  }

  /** Rows that exist stay: a click on one, or the pointer over it, must not be lost to a number. */
  showSizes() {
    for (const [index, row] of this.rows.shown) {
      const size = this.lines[index].stream?.bytes;
      if (typeof size === "number") fill(/** @type {Element} */ (row.querySelector(".count")), bytes(size));
    }
  }

  /** @param {string} search */
  find(search) {
    this.search = search.trim().toLowerCase();
    this.layOut();
    this.rows.element.scrollTop = 0;
  }

  /** @param {string} path of the stream that is shown */
  setCurrent(path) {
    this.current = path;
    this.mark();
  }

  layOut() {
    this.lines = this.linesNow();
    this.rows.reset(this.lines.length);
    this.mark();
  }

  linesNow() {
    return this.search ? this.flat() : this.nested();
  }

  /** What a search has found, with whole names. @returns {Line[]} */
  flat() {
    const found = this.streams.filter((one) => readable(one.path).toLowerCase().includes(this.search));
    return found.map((stream) => ({ label: readable(stream.path), depth: 0, folder: null, open: false, inside: 0, stream }));
  }

  /** @returns {Line[]} */
  nested() {
    /** @type {Line[]} */
    const lines = [];
    this.branch(this.streams, 0, "", 0, lines);
    return lines;
  }

  /** @param {import("./streams.js").Stream[]} streams sorted @param {number} from characters that all have in common @param {string} folder @param {number} depth @param {Line[]} lines */
  branch(streams, from, folder, depth, lines) {
    for (let i = 0; i < streams.length; ) {
      const { path } = streams[i];
      const slash = path.indexOf("/", from);
      if (slash < 0) {
        lines.push({ label: readable(path.slice(from)), depth, folder: null, open: false, inside: 0, stream: streams[i++] });
        continue;
      }
      const inner = path.slice(0, slash + 1);
      let end = i;
      while (end < streams.length && streams[end].path.startsWith(inner)) end++;
      const open = !this.closed.has(inner);
      lines.push({ label: readable(path.slice(from, slash)), depth, folder: inner, open, inside: end - i, stream: null });
      if (open) this.branch(streams.slice(i, end), slash + 1, inner, depth + 1, lines);
      i = end;
    }
  }

  /** @param {Line} line */
  render({ label, depth, folder, open, inside, stream }) {
    const row = h("div.tree-row", { title: folder ?? stream?.path }, h("span.indent"));
    row.firstChild.style.width = `${Math.min(depth, 8) * 14}px`;
    if (folder !== null) {
      row.setAttribute("aria-expanded", String(open));
      row.append(h(`span.caret${open ? ".open" : ""}`), h("span.tree-name.folder", null, label), h("span.count", null, inside));
    } else if (stream) {
      const kind = stream.contentType ? modeOf(stream.contentType) : "json";
      row.append(h(`span.dot.${kind}`, { title: stream.contentType }), h("span.tree-name", null, label));
      if (stream.forkedFrom) row.append(h("span.badge-icon", { title: `fork of ${stream.forkedFrom}` }, icon("fork")));
      if (stream.lifetime) row.append(h("span.badge-icon", { title: stream.lifetime }, icon("clock")));
      if (stream.closed) row.append(h("span.badge-icon", { title: "closed" }, icon("lock")));
      if (stream.bytes !== null) row.append(h("span.count", null, bytes(stream.bytes)));
    }
    return row;
  }

  mark() {
    this.rows.mark(this.rows.selected, false);
    this.rows.selected = this.lines.findIndex((line) => line.stream?.path === this.current);
    this.rows.mark(this.rows.selected, true);
  }

  /** @param {number} index */
  activate(index) {
    const line = this.lines[index];
    if (!line) return;
    if (line.stream) return this.onopen(line.stream.path);
    const folder = /** @type {string} */ (line.folder);
    if (!this.closed.delete(folder)) this.closed.add(folder);
    this.layOut();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      this.step(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter") this.activate(this.rows.selected);
  }

  /** @param {number} by */
  step(by) {
    const next = Math.max(0, Math.min(this.lines.length - 1, this.rows.selected + by));
    this.rows.select(next);
  }

  /** Open what a search has found first; whether there was one. */
  openFirst() {
    const first = this.lines.find((line) => line.stream);
    if (first?.stream) this.onopen(first.stream.path);
    return Boolean(first);
  }
}

/** Whether the same is to be seen, but for sizes. @param {import("./streams.js").Stream[]} some @param {import("./streams.js").Stream[]} others */
function looksAlike(some, others) {
  const look = (/** @type {import("./streams.js").Stream} */ one) => JSON.stringify({ ...one, bytes: one.bytes === null });
  return some.length === others.length && some.every((one, i) => one === others[i] || look(one) === look(others[i]));
}
