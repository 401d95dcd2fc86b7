// @ts-check
/** Reading messages: durafold's own envelopes (`wire/envelope.py`), State Protocol changes, anything else. */

import { stringify } from "./json.js";

/**
 * @typedef {object} Envelope
 * @property {string} kind
 * @property {any} payload
 * @property {{client: string, n: number} | null} id
 * @property {number | null} ifRevision
 */

/** @param {any} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** @param {any} text @returns {{client: string, n: number} | null} */
function parseId(text) {
  const match = typeof text === "string" ? /^(.+):(\d{1,16})$/s.exec(text) : null;
  return match ? { client: match[1], n: Number(match[2]) } : null;
}

/** @param {any} message @returns {Envelope} */
export function envelopeOf(message) {
  const id = isObject(message) && "payload" in message && isObject(message.meta) ? parseId(message.meta.id) : null;
  if (!id || typeof message.type !== "string") {
    return { kind: "action", payload: message, id: null, ifRevision: null };
  }
  const revision = message.meta.if_revision;
  return { kind: message.type, payload: message.payload, id, ifRevision: Number.isInteger(revision) ? revision : null };
}

/** Milliseconds since 1970, if the message says when it was made. @param {any} message @returns {number | null} */
export function timeOf(message) {
  if (!isObject(message)) return null;
  if (isObject(message.meta) && Number.isInteger(message.meta.ts)) return message.meta.ts;
  const stamp = isObject(message.headers) ? message.headers.timestamp : null;
  const ms = typeof stamp === "string" ? Date.parse(stamp) : NaN;
  return Number.isNaN(ms) ? null : ms;
}

/** Who wrote it, if the message says so. @param {any} message */
export function producerOf(message) {
  if (!isObject(message)) return "";
  const meta = isObject(message.meta) ? message.meta : {};
  if (typeof meta.by === "string") return meta.by;
  if (typeof meta.id === "string") return meta.id;
  const from = isObject(message.headers) ? message.headers.from : null;
  return typeof from === "string" ? from : "";
}

/** The word that says what kind of message it is. @param {any} message */
export function typeOf(message) {
  if (!isObject(message)) return "";
  if (isObject(message.headers)) return String(message.headers.operation ?? message.headers.control ?? "");
  const { kind, payload, id } = envelopeOf(message);
  if (kind === "op" && Array.isArray(payload)) return String(payload[0]);
  if (id && kind === "action") return isObject(payload) && typeof payload.type === "string" ? payload.type : "action";
  return typeof message.type === "string" ? message.type : "";
}

/**
 * What a message says, without what wraps it: a payload, or the value of a change. The text itself if nothing
 * does. @param {any} message @param {string} text
 */
export function previewOf(message, text) {
  if (isChange(message) && "value" in message) return `${message.type} ${message.key} ${stringify(message.value)}`;
  if (isChange(message) && "key" in message) return `${message.type} ${message.key}`;
  const wraps = isObject(message) && "payload" in message && (isObject(message.meta) || ["set", "op"].includes(message.type));
  return wraps ? stringify(message.payload) : text;
}

/** Whether a message is a State Protocol change. @param {any} message */
export function isChange(message) {
  return isObject(message) && isObject(message.headers) && ("operation" in message.headers || "control" in message.headers);
}
