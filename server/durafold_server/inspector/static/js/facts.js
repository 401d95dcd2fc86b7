// @ts-check
/** All that is known of a stream: what the server says in headers, and what the inspector's own route adds. */

import { fill, h } from "./dom.js";
import { bytes, dateTime, duration, number } from "./format.js";
import { streamLink } from "./router.js";

/** @typedef {Record<string, any>} Meta as `api/stream` answers it */

export class Facts {
  constructor() {
    this.element = h("section.facts-page", { "aria-label": "Details", hidden: true });
  }

  /** Whether something of it is selected, to be copied: drawn anew it would be lost. */
  get isSelected() {
    const selection = getSelection();
    return selection !== null && !selection.isCollapsed && this.element.contains(selection.anchorNode);
  }

  /** @param {{path: string, url: string, meta: Meta | null, headers: Headers}} what */
  show({ path, url, meta, headers }) {
    const rows = [["Path", h("span.mono", null, path)], ["Address", h("span.mono", null, url)], ...(meta ? describe(meta) : [])];
    const lines = [...headers].sort().map(([name, value]) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, value)));
    fill(
      this.element,
      h("section.panel", null, h("h3", null, "Stream"), h("dl.facts.wide", null, rows.map(([label, value]) => [h("dt", null, label), h("dd", null, value)]))),
      h("section.panel", null, h("h3", null, "Headers of HEAD"), h("table.headers", null, h("tbody", null, lines))),
    );
  }
}

/** @param {Meta} meta @returns {[string, any][]} */
function describe(meta) {
  const lifetime = meta.ttl_s ? `after ${duration(meta.ttl_s)} (${number(meta.ttl_s)} s) without a read or write` : null;
  /** @type {[string, any][]} */
  const rows = [
    ["Content type", meta.content_type],
    ["Size", `${bytes(meta.tail - meta.start)} (${number(meta.tail - meta.start)} bytes)`],
    ["Next offset", h("span.mono", null, meta.next_offset)],
    ["Created", dateTime(meta.created_at_ms)],
    ["Last used", dateTime(meta.used_at_ms)],
    ["Closed", meta.closed ? (meta.closed_by ? `yes, by ${meta.closed_by}` : "yes") : "no"],
    ["Expires", meta.expires_at ?? lifetime ?? "never"],
  ];
  if (meta.forked_from) rows.push(["Forked from", h("a", { href: streamLink(meta.forked_from, { offset: meta.forked_at }) }, meta.forked_from)], ["Forked at", h("span.mono", null, meta.forked_at)]);
  if (meta.forks) rows.push(["Forks of it", number(meta.forks)]);
  if (meta.last_seq) rows.push(["Stream-Seq", h("span.mono", null, meta.last_seq)]);
  return rows;
}
