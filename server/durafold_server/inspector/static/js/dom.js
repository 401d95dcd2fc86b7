// @ts-check
/** Elements from data. Text is only ever set as text: nothing here can turn it into markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} tag name, with classes behind dots: `div.row.selected`
 * @param {Record<string, any> | null} [props] attributes; `on…` are listeners, null and false are left out
 * @param {...any} children nodes, texts, arrays of them; null and false are left out
 * @returns {any}
 */
export function h(tag, props, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props ?? {})) set(element, key, value);
  add(element, children);
  return element;
}

/** @param {any} element @param {string} key @param {any} value */
function set(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (key === "value" || key === "checked" || key === "disabled" || key === "hidden") element[key] = value;
  else element.setAttribute(key, value === true ? "" : String(value));
}

/** @param {Node} parent @param {any[]} children */
function add(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(parent, child);
    else parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Replace what an element holds. @param {Element} element @param {...any} children */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
}

/**
 * An SVG element.
 * @param {string} tag @param {Record<string, any>} props @param {...Node} children
 */
export function svg(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** Outlines on a 16 by 16 grid. @type {Record<string, string>} */
const ICONS = {
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10Zm3.6-1.4L14 14",
  plus: "M8 3v10M3 8h10",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7",
  moon: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7Z",
  auto: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2Zm0 0v12M8 4.5l4.6 4.6M8 8l3.5 3.5",
  key: "M5.2 13.6a2.9 2.9 0 1 0 0-5.8 2.9 2.9 0 0 0 0 5.8ZM7.3 8.7l6-6M10.8 5.2l2 2M9 7l1.4 1.4",
  help: "M6 6a2 2 0 1 1 2.8 1.9c-.5.2-.8.6-.8 1.1v.5M8 12v.1M8 14.5a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13Z",
  play: "M5 3.5v9l7.5-4.5Z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  down: "M8 3v9M4.5 8.5 8 12l3.5-3.5M3.5 14h9",
  up: "M8 13V4M4.5 7.5 8 4l3.5 3.5M3.5 2h9",
  first: "M4 3.5v9M12 3.5 6.5 8l5.5 4.5Z",
  last: "M12 3.5v9M4 3.5 9.5 8 4 12.5Z",
  back: "M10.5 3.5 5 8l5.5 4.5Z",
  next: "M5.5 3.5 11 8l-5.5 4.5Z",
  fork: "M4.5 5.5v5M4.5 5.5a1.7 1.7 0 1 0 0-3.4 1.7 1.7 0 0 0 0 3.4Zm0 5a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4Zm7-5a1.7 1.7 0 1 0 0-3.4 1.7 1.7 0 0 0 0 3.4Zm0 0v.5a2.5 2.5 0 0 1-2.5 2.5H7a2.5 2.5 0 0 0-2.5 2",
  lock: "M4 7.5h8v6H4ZM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
  trash: "M2.5 4.5h11M6 4.5v-2h4v2M4 4.5l.7 9h6.6l.7-9M6.7 7v4M9.3 7v4",
  copy: "M5.5 5.5h8v8h-8ZM3 10.5H2.5v-8h8V3",
  save: "M8 2v8M4.8 7.2 8 10.4l3.2-3.2M2.5 11v2.5h11V11",
  link: "M6.5 9.5 9.5 6.5M7.5 4.5l1-1a2.8 2.8 0 0 1 4 4l-1 1M8.5 11.5l-1 1a2.8 2.8 0 0 1-4-4l1-1",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  menu: "M2.5 4h11M2.5 8h11M2.5 12h11",
  clock: "M8 14a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM8 4.8V8l2.2 1.5",
  chevron: "M6 4l4 4-4 4",
  stream: "M2 4.7 8 2l6 2.7L8 7.4ZM2.5 8 8 10.6 13.5 8M2.5 11.2 8 13.8l5.5-2.6",
  send: "M2.5 8h10M9 4.5 12.5 8 9 11.5",
  code: "M5.5 4.5 2 8l3.5 3.5M10.5 4.5 14 8l-3.5 3.5",
};

/** An icon, invisible to screen readers. @param {string} name */
export function icon(name) {
  const path = svg("path", { d: ICONS[name] });
  return svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, path);
}

/**
 * A button with an icon; without a text its label is only spoken and shown as hint.
 * @param {string} name icon @param {string} label @param {() => void} onclick
 * @param {{text?: boolean | string, hint?: string, class?: string}} [options]
 */
export function button(name, label, onclick, options = {}) {
  const text = options.text === true ? label : options.text;
  const props = { type: "button", title: options.hint ?? label, "aria-label": label, onclick };
  return h(`button${options.class ?? ""}`, props, icon(name), text ? h("span", null, text) : null);
}

/** Run at most once per frame. @param {() => void} task */
export function onceAFrame(task) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      task();
    });
  };
}

/** Let the browser draw and listen between slices of work. */
export const breathe = () => new Promise((resolve) => setTimeout(resolve));
