// @ts-check
/** Bytes as hexadecimal rows. */

import { h } from "./dom.js";
import { HEX_WIDTH } from "./log.js";

const SHOWN_BYTES = 4096;

/** @param {Uint8Array} data up to sixteen bytes @param {number} at position of the first */
export function hexRow(data, at) {
  const digits = Array.from(data, (byte) => byte.toString(16).padStart(2, "0"));
  const halves = [digits.slice(0, 8).join(" "), digits.slice(8).join(" ")];
  const characters = Array.from(data, (byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·"));
  return [
    h("span.hex-at", null, at.toString(16).padStart(8, "0")),
    h("span.hex-digits", null, halves[0].padEnd(25), halves[1].padEnd(23)),
    h("span.hex-text", null, characters.join("")),
  ];
}

/** A dump of the beginning. @param {Uint8Array} data */
export function hexDump(data) {
  const rows = [];
  for (let at = 0; at < Math.min(data.length, SHOWN_BYTES); at += HEX_WIDTH) {
    rows.push(h("div.hex-row", null, hexRow(data.subarray(at, at + HEX_WIDTH), at)));
  }
  if (data.length > SHOWN_BYTES) rows.push(h("p.hint", null, `the first ${SHOWN_BYTES} of ${data.length} bytes`));
  return h("div.hex", null, rows);
}
