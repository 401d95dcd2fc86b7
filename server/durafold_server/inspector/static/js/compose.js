// @ts-check
/** Writing to the stream: Enter sends, Shift+Enter makes a new line, the arrows fetch what was sent before. */

import { explain } from "./client.js";
import { fill, h, icon } from "./dom.js";
import { rememberMessage, writtenMessages } from "./settings.js";

const MAX_ROWS = 10;

/** @type {[string, string][]} */
const TEMPLATES = [
  ["Set a shared value", '{"type": "set", "payload": 1}'],
  ["Increment", '{"type": "op", "payload": ["increment", 1]}'],
  ["Put at a path", '{"type": "op", "payload": ["put", ["settings", "theme"], "dark"]}'],
  ["Action", '{"type": "add", "text": "milk"}'],
  ["Insert (State Protocol)", '{"type": "user", "key": "1", "value": {"name": "Ada"}, "headers": {"operation": "insert"}}'],
  ["Delete (State Protocol)", '{"type": "user", "key": "1", "headers": {"operation": "delete"}}'],
];

export class Composer {
  /** @param {(text: string) => Promise<void>} send */
  constructor(send) {
    this.send = send;
    this.json = true;
    /** Place in the history, -1 for the draft. */
    this.place = -1;
    this.draft = "";
    this.path = "";
    /** What was begun for other streams, by path. @type {Map<string, string>} */
    this.begun = new Map();
    this.problem = h("p.problem", { role: "alert" });
    this.input = h("textarea", {
      rows: "1",
      spellcheck: "false",
      "aria-label": "Message",
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.pressed(event),
      oninput: () => this.changed(),
    });
    this.templates = h(
      "select.templates",
      { "aria-label": "Insert a template", onchange: () => this.insertTemplate() },
      h("option", { value: "" }, "Templates"),
      TEMPLATES.map(([label, text]) => h("option", { value: text }, label)),
    );
    this.button = h("button.primary", { type: "button", title: "Append (Enter)", "aria-label": "Append", onclick: () => this.submit() }, icon("send"), h("span", null, "Append"));
    this.element = h("div.composer", null, this.input, this.templates, this.button, this.problem);
  }

  /** @param {{json: boolean, closed: boolean, readOnly: boolean}} what */
  show({ json, closed, readOnly }) {
    this.json = json;
    this.templates.hidden = !json;
    const locked = closed ? "The stream is closed: nothing can be added." : readOnly ? "The server writes this stream itself." : "";
    this.input.disabled = this.button.disabled = this.templates.disabled = Boolean(locked);
    this.input.placeholder = locked || (json ? "Append JSON" : "Append text");
  }

  /** Write to another stream; what was begun for one stays with it. @param {string} path */
  turnTo(path) {
    this.begun.set(this.path, this.input.value);
    this.path = path;
    this.place = -1;
    this.draft = "";
    fill(this.problem);
    this.write(this.begun.get(path) ?? "");
    this.begun.delete(path);
  }

  focus() {
    this.input.focus();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "ArrowUp" && this.input.selectionStart === 0) this.recall(1, event);
    else if (event.key === "ArrowDown" && this.input.selectionStart === this.input.value.length) this.recall(-1, event);
  }

  /** @param {number} by @param {KeyboardEvent} event */
  recall(by, event) {
    const written = writtenMessages();
    const place = this.place + by;
    if (place < -1 || place >= written.length) return;
    event.preventDefault();
    if (this.place === -1) this.draft = this.input.value;
    this.place = place;
    this.write(place === -1 ? this.draft : written[place]);
  }

  /** @param {string} text */
  write(text) {
    this.input.value = text;
    this.grow();
    const end = by(this.place) ? 0 : text.length;
    this.input.setSelectionRange(end, end);
  }

  insertTemplate() {
    this.place = -1;
    this.write(this.templates.value);
    this.templates.value = "";
    this.focus();
  }

  changed() {
    this.place = -1;
    fill(this.problem);
    this.grow();
  }

  grow() {
    this.input.rows = Math.min(MAX_ROWS, this.input.value.split("\n").length);
  }

  async submit() {
    const text = this.input.value;
    if (!text.trim()) return;
    const wrong = this.json ? problemOf(text) : "";
    if (wrong) return fill(this.problem, wrong);
    // Emptied at once: what is typed while the answer is awaited belongs to the next message.
    rememberMessage(text);
    this.place = -1;
    this.draft = "";
    this.write("");
    fill(this.problem);
    try {
      await this.send(text);
    } catch (error) {
      if (!this.input.value) this.write(text);
      fill(this.problem, explain(error));
    }
  }
}

/** Whether the caret belongs at the beginning, where the next arrow up goes on. @param {number} place */
const by = (place) => place >= 0;

/** @param {string} text */
function problemOf(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `This is not JSON: ${error instanceof Error ? error.message : error}`;
  }
}
