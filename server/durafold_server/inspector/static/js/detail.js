// @ts-check
/** One message beside the list: as tree, as it is, as text, as bytes; and what can be done from there. */

import { button, fill, h } from "./dom.js";
import { producerOf, timeOf } from "./envelope.js";
import { bytes, dateTime, number } from "./format.js";
import { hexDump } from "./hex.js";
import { tree } from "./jsontree.js";
import { copy } from "./toast.js";

/** @typedef {{onclose(): void, onlink(index: number): string, onstate(index: number): void, onfork(index: number): void}} Actions */

const FORMS = /** @type {const} */ (["Tree", "Raw", "Text", "Hex"]);

export class Detail {
  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    /** @type {typeof FORMS[number]} */
    this.form = "Tree";
    this.index = -1;
    /** @type {import("./log.js").Log | null} */
    this.log = null;
    this.offset = "";
    this.element = h("aside.detail", { "aria-label": "Message", hidden: true });
  }

  /** @param {import("./log.js").Log} log @param {number} index @param {string} offset where the message begins */
  show(log, index, offset) {
    Object.assign(this, { log, index, offset });
    this.element.hidden = false;
    this.draw();
  }

  hide() {
    this.index = -1;
    this.element.hidden = true;
  }

  draw() {
    const log = /** @type {import("./log.js").Log} */ (this.log);
    const { index, offset, actions } = this;
    const tabs = FORMS.map((form) =>
      h("button", { type: "button", role: "tab", "aria-selected": String(form === this.form), onclick: () => this.choose(form) }, form),
    );
    fill(
      this.element,
      h("header", null, h("h3", null, `Message ${number(index + 1)}`), button("close", "Close the message", actions.onclose, { class: ".quiet" })),
      this.facts(log, index, offset),
      h("div.tabs.small", { role: "tablist", "aria-label": "Form" }, tabs),
      h("div.detail-body", { tabindex: "0" }, this.body(log, index)),
      h(
        "footer",
        null,
        button("copy", "Copy the message", () => copy(log.text(index), "Message"), { text: "Copy" }),
        button("link", "Copy a link to this message", () => copy(actions.onlink(index), "Link"), { text: "Link" }),
        button("clock", "Show the state right after this message", () => actions.onstate(index), { text: "State here" }),
        button("fork", "Fork the stream right after this message", () => actions.onfork(index), { text: "Fork" }),
      ),
    );
  }

  /** @param {import("./log.js").Log} log @param {number} index @param {string} offset */
  facts(log, index, offset) {
    const value = log.mode === "json" ? log.value(index) : null;
    const [made, arrived, producer] = [timeOf(value), log.arrivals.get(index), producerOf(value)];
    return h(
      "dl.facts",
      null,
      offset ? [h("dt", null, "Offset"), h("dd.mono", null, offset)] : null,
      [h("dt", null, "Size"), h("dd", null, bytes(log.bytes(index).length))],
      made !== null ? [h("dt", null, "Made"), h("dd", null, dateTime(made))] : null,
      arrived ? [h("dt", null, "Arrived"), h("dd", null, dateTime(arrived))] : null,
      producer ? [h("dt", null, "Producer"), h("dd.mono", null, producer)] : null,
    );
  }

  /** @param {import("./log.js").Log} log @param {number} index */
  body(log, index) {
    if (this.form === "Hex") return hexDump(log.bytes(index));
    const text = log.text(index);
    if (this.form === "Raw" || log.mode !== "json") return h("pre.raw", null, text);
    const value = log.value(index);
    if (this.form === "Tree") return tree(value, { open: 4 });
    return h("pre.raw", null, typeof value === "string" ? value : texts(value).join("\n"));
  }

  /** @param {typeof FORMS[number]} form */
  choose(form) {
    this.form = form;
    this.draw();
  }
}

/** The strings in a value, for reading. @param {any} value @returns {string[]} */
function texts(value) {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(texts);
}
