// @ts-check
/** A JSON value as a tree whose branches are made when they are opened, and a message as one coloured line. */

import { h } from "./dom.js";
import { kindOf, stringify } from "./json.js";

const CHUNK = 100;
const LONG_TEXT = 300;

/**
 * @param {any} value
 * @param {{open?: number, marks?: Map<string, string>}} [options] levels to open; classes of parts by path
 * @returns {HTMLElement}
 */
export function tree(value, options = {}) {
  return h("div.tree", null, node(null, value, "", options.open ?? 2, options.marks ?? new Map()));
}

/** @param {string | number | null} key @param {any} value @param {string} path @param {number} open @param {Map<string, string>} marks */
function node(key, value, path, open, marks) {
  const mark = marks.get(path);
  const line = `div.tree-line${mark ? `.${mark}` : ""}`;
  const kind = kindOf(value);
  if (kind !== "list" && kind !== "object") return h(line, null, label(key), leaf(value, kind));
  const size = kind === "list" ? value.length : Object.keys(value).length;
  const brackets = kind === "list" ? "[]" : "{}";
  if (!size) return h(line, null, label(key), h("span.json-sign", null, brackets));
  return branch(line, key, value, { path, open, marks, size, brackets });
}

/** @param {string} line @param {string | number | null} key @param {any} value @param {any} at */
function branch(line, key, value, { path, open, marks, size, brackets }) {
  const inner = h("div.tree-inner", { hidden: true });
  const summary = h("span.tree-summary", null, `${brackets[0]} ${size} ${brackets[1]}`);
  const toggle = h("button.tree-toggle", { type: "button", "aria-expanded": "false" }, h("span.caret", { "aria-hidden": "true" }), label(key), summary);
  const flip = () => {
    if (!inner.childNodes.length) more(inner, value, 0, path, open - 1, marks);
    inner.hidden = !inner.hidden;
    toggle.setAttribute("aria-expanded", String(!inner.hidden));
  };
  toggle.addEventListener("click", flip);
  if (open > 0) flip();
  return h("div.tree-branch", null, h(line, null, toggle), inner);
}

/** Add the next hundred members. @param {HTMLElement} inner @param {any} value @param {number} from @param {string} path @param {number} open @param {Map<string, string>} marks */
function more(inner, value, from, path, open, marks) {
  const keys = Array.isArray(value) ? null : Object.keys(value);
  const size = keys ? keys.length : value.length;
  for (let i = from; i < Math.min(from + CHUNK, size); i++) {
    const key = keys ? keys[i] : i;
    inner.appendChild(node(key, value[key], `${path}/${key}`, open, marks));
  }
  const rest = size - from - CHUNK;
  if (rest <= 0) return;
  const next = h("button.link", { type: "button" }, `${Math.min(rest, CHUNK)} more of ${rest}`);
  next.addEventListener("click", () => {
    next.remove();
    more(inner, value, from + CHUNK, path, open, marks);
  });
  inner.appendChild(next);
}

/** @param {string | number | null} key */
function label(key) {
  if (key === null) return null;
  return [h(typeof key === "number" ? "span.json-index" : "span.json-key", null, String(key)), h("span.json-sign", null, ": ")];
}

/** @param {any} value @param {string} kind */
function leaf(value, kind) {
  const text = stringify(value);
  if (kind !== "string" || text.length <= LONG_TEXT) return h(`span.json-${kind}`, null, text);
  const shown = h("span.json-string", null, `${text.slice(0, LONG_TEXT)}…`);
  const all = h("button.link", { type: "button" }, `all ${value.length} characters`);
  all.addEventListener("click", () => {
    shown.textContent = text;
    all.remove();
  });
  return [shown, " ", all];
}

const TOKEN = /("(?:[^"\\]|\\.)*"?)(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)|([^"\d-]+|-)/g;

/** JSON text on one line, coloured; what is cut off in the middle of a string is fine. @param {string} text */
export function oneLine(text) {
  const parts = [];
  for (const [whole, string, colon, digits, word] of text.matchAll(TOKEN)) {
    if (string) parts.push(h(colon ? "span.json-key" : "span.json-string", null, string), colon ? ":" : null);
    else if (digits) parts.push(h("span.json-number", null, digits));
    else if (word) parts.push(h(word === "null" ? "span.json-null" : "span.json-boolean", null, word));
    else parts.push(whole);
  }
  return parts;
}
