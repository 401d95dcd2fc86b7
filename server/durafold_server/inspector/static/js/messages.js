// @ts-check
/** The messages of a stream as a table: filter, go to, follow, select. */

import { Detail } from "./detail.js";
import { button, fill, h } from "./dom.js";
import { previewOf, producerOf, timeOf, typeOf } from "./envelope.js";
import { Filter } from "./filter.js";
import { number, plural, time } from "./format.js";
import { hexRow } from "./hex.js";
import { oneLine } from "./jsontree.js";
import { Rows } from "./rows.js";

const ROW_PX = 28;
const PREVIEW_CHARS = 400;
const FILTER_DELAY_MS = 150;

/**
 * @typedef {object} Hooks
 * @property {(place: string) => void} onseek a place that is not in the log: an offset, `start`, `last 100`
 * @property {(following: boolean) => void} onfollow
 * @property {(index: number) => void} onselect
 * @property {(index: number) => string} link
 * @property {(index: number) => void} onstate
 * @property {(index: number) => void} onfork
 * @property {(position: number) => string} token offset of a position
 */

export class Messages {
  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.hooks = hooks;
    /** @type {import("./log.js").Log | null} */
    this.log = null;
    /** @type {Filter | null} */
    this.filter = null;
    this.following = true;
    this.rows = this.makeRows("Messages");
    this.detail = new Detail({
      onclose: () => this.select(-1),
      onlink: hooks.link,
      onstate: hooks.onstate,
      onfork: hooks.onfork,
    });
    this.count = h("span.found", { role: "status" });
    this.search = h("input", { type: "search", placeholder: "Filter: words, type=add", "aria-label": "Filter messages", spellcheck: "false", oninput: () => this.searched() });
    this.place = h("input.go", {
      placeholder: "Go to: number, offset, last 100",
      "aria-label": "Go to a message",
      spellcheck: "false",
      onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && this.go(this.place.value),
    });
    this.head = h("div.table-head", { "aria-hidden": "true" });
    this.empty = h("div.empty", { hidden: true });
    this.banner = h("div.banner", { hidden: true });
    this.element = h(
      "section.messages",
      { "aria-label": "Messages" },
      h(
        "div.toolbar",
        null,
        this.search,
        this.count,
        h("span.spring"),
        this.place,
        button("up", "To the start (Home)", () => this.go("start"), { class: ".quiet" }),
        button("down", "To the end (End)", () => this.go("end"), { class: ".quiet" }),
      ),
      this.banner,
      h("div.split", null, h("div.table", null, this.head, this.rows.element, this.empty), this.detail.element),
    );
  }

  /** @param {string} label */
  makeRows(label) {
    return new Rows({
      label,
      rowHeight: ROW_PX,
      render: (row) => this.render(this.indexOf(row)),
      onselect: (row) => this.select(this.indexOf(row)),
      onscroll: (atEnd) => !atEnd && this.following && this.scrolledAway(),
    });
  }

  /** Show another log. @param {import("./log.js").Log} log */
  open(log) {
    this.log = log;
    this.detail.hide();
    this.rows.selected = -1;
    this.search.value = "";
    this.setFilter("");
    this.element.dataset.mode = log.mode;
    const [second, last] = log.mode === "json" ? ["Offset", "Message"] : ["Position", log.mode === "text" ? "Text" : "Bytes"];
    fill(this.head, h("span", null, "#"), h("span.c-offset", null, second), log.mode === "json" ? [h("span.c-time", null, "Time"), h("span.c-producer", null, "Producer")] : null, h("span", null, last));
  }

  /** More has come. */
  update() {
    this.filter?.update();
  }

  /** @param {string} query */
  setFilter(query) {
    this.filter?.dispose();
    this.filter = new Filter(/** @type {any} */ (this.log), query, () => this.changed());
    this.rows.reset(0);
    this.filter.update();
  }

  searched() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.setFilter(this.search.value), FILTER_DELAY_MS);
  }

  changed() {
    const { filter, log, rows } = this;
    if (!filter || !log) return;
    // The last line of a text grows, and so does the last row of bytes.
    if (log.mode !== "json") rows.forget();
    rows.grow(filter.count);
    if (this.following) rows.toEnd();
    const total = number(log.count);
    fill(this.count, filter.isActive ? `${number(filter.count)} of ${total}${filter.isComplete ? "" : "…"}` : plural(log.count, this.noun));
    this.empty.hidden = filter.count > 0;
    fill(this.empty, filter.isActive ? "Nothing matches the filter." : "Nothing here yet. What is appended appears at once.");
  }

  get noun() {
    return { json: "message", text: "line", binary: "row" }[this.log?.mode ?? "json"];
  }

  /** @param {number} row */
  indexOf(row) {
    return this.filter ? this.filter.indexOf(row) : row;
  }

  /** @param {number} index */
  render(index) {
    const log = /** @type {import("./log.js").Log} */ (this.log);
    const position = log.positionAt(index);
    const place = h("span.c-offset", { title: log.exact ? this.hooks.token(position) : "" }, log.exact ? number(position) : "–");
    const first = h("span.c-number", null, number(index + 1));
    if (log.mode === "binary") return h("div.message", null, first, place, h("span.c-text.hex-line", null, hexRow(log.bytes(index), position)));
    const text = log.text(index);
    if (log.mode === "text") return h("div.message", null, first, place, h("span.c-text", null, text.slice(0, PREVIEW_CHARS)));
    const value = log.value(index);
    const [made, kind] = [timeOf(value), typeOf(value)];
    return h(
      "div.message",
      null,
      first,
      place,
      h("span.c-time", null, made === null ? "" : time(made)),
      h("span.c-producer", { title: producerOf(value) }, producerOf(value)),
      h("span.c-text", null, kind ? h("span.kind", null, kind) : null, oneLine(previewOf(value, text).slice(0, PREVIEW_CHARS))),
    );
  }

  /** @param {number} index -1 for none @param {"nearest" | "center"} [block] */
  select(index, block) {
    const { log, filter, rows } = this;
    if (!log || !filter || index >= log.count) return;
    if (index < 0) this.detail.hide();
    else {
      this.follow(false);
      this.detail.show(log, index, log.exact ? this.hooks.token(log.positionAt(index)) : "");
    }
    rows.select(index < 0 ? -1 : filter.rowOf(index), block);
    this.hooks.onselect(index);
  }

  /** Select the next or an earlier row. @param {number} by */
  step(by) {
    const rows = this.rows;
    if (!rows.count) return;
    const from = rows.selected < 0 ? (by > 0 ? -1 : rows.count) : rows.selected;
    this.select(this.indexOf(Math.max(0, Math.min(rows.count - 1, from + by))));
  }

  /** @param {string} text */
  go(text) {
    const place = text.trim();
    const log = this.log;
    if (!log || !place) return;
    if (place === "end") return this.follow(true);
    if (place === "start" && log.from === "-1") return this.goToRow(0);
    const count = /^#?(\d{1,9})$/.exec(place);
    if (!count) return this.hooks.onseek(place);
    this.select(Math.max(0, Math.min(log.count, Number(count[1])) - 1), "center");
  }

  /** @param {number} row */
  goToRow(row) {
    this.follow(false);
    this.rows.reveal(row);
  }

  scrolledAway() {
    // Rows that are added move the end away before the list is scrolled there: only a person scrolls up.
    const { scrollTop } = this.rows.element;
    if (scrollTop < (this.lastTop ?? 0)) this.follow(false);
    this.lastTop = scrollTop;
  }

  /** Keep to the end, or stay. @param {boolean} following */
  follow(following) {
    if (following !== this.following) {
      this.following = following;
      this.hooks.onfollow(following);
    }
    if (!following) return;
    this.rows.toEnd();
    this.lastTop = this.rows.element.scrollTop;
  }

  /** Say something above the table. @param {...any} content */
  say(...content) {
    this.banner.hidden = !content.length;
    fill(this.banner, ...content);
  }

  dispose() {
    this.filter?.dispose();
    this.rows.dispose();
  }
}

