// @ts-check
/** The reducers that the page knows itself. Others are Python, and run on the server (`serverfold.js`). */

import { envelopeOf, isChange } from "./envelope.js";
import { applyOp, UnknownAction, valueBefore } from "./ops.js";

/**
 * @typedef {object} Reducer
 * @property {string} id
 * @property {string} label
 * @property {string} hint
 * @property {any} initial
 * @property {(state: any, envelope: import("./envelope.js").Envelope) => any} step may throw `Reject`
 */

/** @param {import("./envelope.js").Envelope} envelope */
function change({ kind, payload, id }) {
  const isBare = !id && typeof payload === "object" && payload !== null && "payload" in payload;
  return isBare ? { kind: payload.type, payload: payload.payload } : { kind, payload };
}

/** @param {any} state @param {import("./envelope.js").Envelope} envelope */
function setState(state, envelope) {
  const { kind, payload } = change(envelope);
  if (kind === "set") return payload;
  if (kind === "op") return applyOp(state, payload);
  throw new UnknownAction(`shared values take messages of type set and op, not ${kind}`);
}

/** @param {any} state @param {import("./envelope.js").Envelope} envelope */
function stateProtocol(state, envelope) {
  const message = envelope.payload;
  if (!isChange(message)) throw new UnknownAction("this is no change of the State Protocol");
  const { operation, control } = message.headers;
  if (control === "reset") return {};
  if (control) return state;
  const { type, key, value } = message;
  const { [type]: members = {}, ...others } = state;
  if (operation === "delete") {
    const { [key]: _, ...rest } = members;
    return { ...others, [type]: rest };
  }
  if (!["insert", "update", "upsert"].includes(operation)) throw new UnknownAction(`there is no operation ${operation}`);
  return { ...others, [type]: { ...members, [key]: value } };
}

/** @type {Reducer[]} */
export const BUILT_IN = [
  { id: "set-state", label: "Shared value", hint: "server_state: set and op", initial: null, step: setState },
  { id: "state-protocol", label: "State Protocol", hint: "insert, update, delete by type and key", initial: {}, step: stateProtocol },
];

/**
 * What a shared value may have begun with, undefined if its first message sets it. Its default stands only in
 * the programs that use it, so this is a guess. @param {any} message @returns {any}
 */
export function firstValue(message) {
  const { kind, payload } = change(envelopeOf(message));
  return kind === "op" ? valueBefore(payload) : undefined;
}

/** The reducer that fits a message best, or null. @param {any} message */
export function guess(message) {
  if (isChange(message)) return BUILT_IN[1];
  if (typeof message !== "object" || message === null) return null;
  return (message.type === "set" || message.type === "op") && "payload" in message ? BUILT_IN[0] : null;
}
