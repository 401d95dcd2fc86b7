// @ts-check
/** Questions in front of the page: make a stream, delete one, the token, the keys. */

import { explain } from "./client.js";
import { button, fill, h } from "./dom.js";
import { setToken, token } from "./settings.js";

/**
 * Show a dialog; it is gone when it is closed.
 * @param {string} title @param {any[]} content @param {string} [kind]
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, kind = "") {
  const id = `title-${Math.random().toString(36).slice(2, 8)}`;
  const dialog = h(`dialog${kind}`, { "aria-labelledby": id, onclose: () => dialog.remove() });
  const head = h("header", null, h("h2", { id }, title), button("close", "Close", () => dialog.close(), { class: ".quiet" }));
  dialog.append(head);
  for (const part of content) if (part) dialog.append(part);
  dialog.addEventListener("click", (/** @type {Event} */ event) => event.target === dialog && dialog.close());
  document.body.appendChild(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * A form that stays open, and says why, until its task succeeds.
 * @param {any[]} fields @param {string} action @param {(form: HTMLFormElement) => Promise<void>} task
 * @param {string} [kind]
 */
function form(fields, action, task, kind = "") {
  const problem = h("p.problem", { role: "alert" });
  const submit = h(`button.primary${kind}`, { type: "submit" }, action);
  const element = h("form", { method: "dialog" }, fields, problem, h("footer", null, submit));
  element.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    submit.disabled = true;
    fill(problem);
    try {
      await task(element);
      element.closest("dialog").close();
    } catch (error) {
      fill(problem, explain(error));
    }
    submit.disabled = false;
  });
  return element;
}

/** @param {string} label @param {Record<string, any>} props @param {string} [hint] */
function field(label, props, hint) {
  return h("label.field", null, h("span", null, label), h("input", { autocomplete: "off", spellcheck: "false", ...props }), hint ? h("small", null, hint) : null);
}

const KINDS = ["application/json", "text/plain", "application/octet-stream"];

/** @typedef {{path: string, offset?: string, subOffset?: number, label: string}} ForkPoint */

/**
 * Make a stream, or a fork.
 * @param {(path: string, headers: Record<string, string>, body: string) => Promise<void>} create
 * @param {{from?: ForkPoint | null, root: string, name?: string}} options
 */
export function askForStream(create, { from = null, root, name = "" }) {
  const kinds = h("datalist", { id: "kinds" }, KINDS.map((kind) => h("option", { value: kind })));
  const source = from ? h("p.hint", null, `It begins with everything in ${from.label}, and goes its own way from there. Nothing is copied.`) : null;
  const fields = [
    source,
    field("Name", { name: "path", required: true, autofocus: true, value: name, placeholder: "rooms/lobby" }, "Slashes make folders."),
    from ? null : field("Content type", { name: "type", value: KINDS[0], list: "kinds", required: true }),
    from ? null : kinds,
    h(
      "div.pair",
      null,
      field("Expires after", { name: "ttl", type: "number", min: "1", placeholder: "never" }, "seconds without a read or write"),
      field("Expires at", { name: "expires", type: "datetime-local" }, "whatever happens"),
    ),
    from ? null : h("label.field", null, h("span", null, "First content"), h("textarea", { name: "body", rows: "2", spellcheck: "false" })),
    h("label.check", null, h("input", { type: "checkbox", name: "closed" }), h("span", null, "Closed: nothing can be added")),
  ];
  const task = (/** @type {HTMLFormElement} */ element) => {
    const data = new FormData(element);
    const path = String(data.get("path")).trim().replace(/^\/+/, "");
    return create(encodePath(path), creationHeaders(data, from, root), String(data.get("body") ?? ""));
  };
  openDialog(from ? "Fork the stream" : "New stream", [form(fields, from ? "Fork" : "Create", task)]);
}

/** @param {FormData} data @param {ForkPoint | null} from @param {string} root */
function creationHeaders(data, from, root) {
  /** @type {Record<string, string>} */
  const headers = {};
  const [type, ttl, expires] = ["type", "ttl", "expires"].map((name) => String(data.get(name) ?? ""));
  if (type) headers["Content-Type"] = type;
  if (ttl) headers["Stream-TTL"] = ttl;
  if (expires) headers["Stream-Expires-At"] = new Date(expires).toISOString();
  if (data.get("closed")) headers["Stream-Closed"] = "true";
  if (from) headers["Stream-Forked-From"] = `${root}/${from.path}`;
  if (from?.offset) headers["Stream-Fork-Offset"] = from.offset;
  if (from?.subOffset) headers["Stream-Fork-Sub-Offset"] = String(from.subOffset);
  return headers;
}

/** @param {string} path as a person writes it */
const encodePath = (path) => path.split("/").map((segment) => encodeURIComponent(segment)).join("/");

/**
 * Ask before something that cannot be undone; the name has to be written where it destroys data.
 * @param {{title: string, text: string, action: string, name?: string, task: () => Promise<void>}} what
 */
export function askToConfirm({ title, text, action, name, task }) {
  const check = name ? field(`Write ${name} to go on`, { name: "confirm", required: true, autofocus: true }) : null;
  const checked = async (/** @type {HTMLFormElement} */ element) => {
    if (name && new FormData(element).get("confirm") !== name) throw new Error(`That is not ${name}.`);
    await task();
  };
  openDialog(title, [form([h("p", null, text), check], action, checked, ".danger")]);
}

/** @param {() => void} ondone */
export function askForToken(ondone) {
  if (document.querySelector("dialog.token")) return;
  const input = field("Bearer token", { name: "token", type: "password", value: token(), autofocus: true });
  const note = h("p.hint", null, "It is kept in this tab only, and sent with every request to this server. Leave it empty to forget it.");
  const task = async (/** @type {HTMLFormElement} */ element) => {
    setToken(String(new FormData(element).get("token")).trim());
    ondone();
  };
  openDialog("Access token", [form([note, input], "Use it", task)], ".token");
}

/** @param {Iterable<[string, import("./shortcuts.js").Shortcut[]]>} groups */
export function showKeys(groups) {
  if (document.querySelector("dialog.keys")) return;
  const parts = [];
  for (const [name, shortcuts] of groups) {
    const lines = shortcuts.map(({ keys, what }) => h("div.key-line", null, h("dt", null, keys.map((key) => h("kbd", null, KEY_NAMES[key] ?? key))), h("dd", null, what)));
    parts.push(h("section", null, h("h3", null, name), h("dl", null, lines)));
  }
  openDialog("Keys", [h("div.key-groups", null, parts)], ".keys");
}

/** @type {Record<string, string>} */
const KEY_NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", " ": "Space" };

/** @param {string} title @param {[string, string][]} texts label and text @param {(text: string, what: string) => void} copy */
export function showTexts(title, texts, copy) {
  const parts = texts.map(([label, text]) =>
    h("section.snippet", null, h("header", null, h("h3", null, label), button("copy", `Copy ${label}`, () => copy(text, label), { text: "Copy" })), h("pre", null, text)),
  );
  openDialog(title, [h("div.snippets", null, parts)], ".wide");
}
