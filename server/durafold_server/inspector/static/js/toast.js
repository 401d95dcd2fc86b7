// @ts-check
/** Short notices at the bottom of the page, read out by screen readers. */

import { h } from "./dom.js";

const SHOWN_MS = 4000;
const place = h("div.toasts", { role: "status", "aria-live": "polite" });

/** @param {string} text @param {"good" | "bad"} [kind] */
export function toast(text, kind = "good") {
  if (!place.isConnected) document.body.appendChild(place);
  const notice = h(`div.toast.${kind}`, null, text);
  place.replaceChildren(notice);
  setTimeout(() => notice.remove(), kind === "bad" ? 2 * SHOWN_MS : SHOWN_MS);
}

/** @param {string} text @param {string} what */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    toast("The browser does not let this page copy.", "bad");
  }
}
