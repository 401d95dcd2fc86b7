// @ts-check
/** The declared operations of shared values, as `durafold/state/ops.py` folds them. */

import { equal, kindOf } from "./json.js";

/** The operation does not fit the state: a no-op on every replica. */
export class Reject extends Error {}

/** A newer client knows this, we do not. */
export class UnknownAction extends Error {}

const MISSING = Symbol("missing");

/** @param {any} value */
const isNumber = (value) => typeof value === "bigint" || (typeof value === "number" && Number.isFinite(value));
/** @param {any} value */
const isObject = (value) => kindOf(value) === "object";

/** @param {any} value @param {any} by */
function sum(value, by) {
  if (!isNumber(value)) throw new Reject(`${describe(value)} cannot be incremented`);
  if (typeof value === "number" && typeof by === "number") {
    const total = value + by;
    if (Number.isSafeInteger(total) || !Number.isInteger(value) || !Number.isInteger(by)) return total;
  }
  if ([value, by].some((one) => typeof one === "number" && !Number.isInteger(one))) return Number(value) + Number(by);
  return BigInt(value) + BigInt(by);
}

/** @param {any} value @param {any[]} items */
function extend(value, items) {
  if (!Array.isArray(value)) throw new Reject(`nothing can be appended to ${describe(value)}`);
  return [...value, ...items];
}

/** @param {any} value @param {any} item */
function remove(value, item) {
  if (Array.isArray(value)) {
    const index = value.findIndex((other) => equal(other, item));
    return index < 0 ? value : value.toSpliced(index, 1);
  }
  if (isObject(value) && typeof item === "string") {
    const { [item]: _, ...rest } = value;
    return rest;
  }
  throw new Reject(`that cannot be removed from ${describe(value)}`);
}

/** @param {any} value @param {any} members */
function merge(value, members) {
  if (!isObject(value)) throw new Reject(`nothing can be merged into ${describe(value)}`);
  return { ...value, ...members };
}

/** @param {any} value */
function toggle(value) {
  if (typeof value !== "boolean") throw new Reject(`${describe(value)} cannot be toggled`);
  return !value;
}

/** @param {(a: any, b: any) => boolean} better */
const bound = (better) => (/** @type {any} */ value, /** @type {any} */ limit) => {
  if (value === MISSING) return limit;
  if (!isNumber(value)) throw new Reject(`${describe(value)} cannot be compared with a number`);
  return better(limit, value) ? limit : value;
};

/** @param {any} value @param {any} fallback */
const or = (value, fallback) => (value === MISSING ? fallback : value);

/**
 * What each does to the value at its path; whether its argument is right.
 * @type {Record<string, {apply(value: any, argument: any): any, accepts: ((argument: any) => boolean) | null}>}
 */
const OPERATIONS = {
  increment: { apply: (value, by) => sum(or(value, 0), by), accepts: isNumber },
  append: { apply: (value, item) => extend(or(value, []), [item]), accepts: () => true },
  extend: { apply: (value, items) => extend(or(value, []), items), accepts: Array.isArray },
  remove: { apply: remove, accepts: () => true },
  merge: { apply: (value, members) => merge(or(value, {}), members), accepts: isObject },
  put: { apply: (_, value) => value, accepts: () => true },
  toggle: { apply: (value) => toggle(or(value, false)), accepts: null },
  min: { apply: bound((a, b) => a < b), accepts: isNumber },
  max: { apply: bound((a, b) => a > b), accepts: isNumber },
};

/**
 * @param {any} state not changed
 * @param {any} op `["increment", 1]`
 * @returns {any}
 */
export function applyOp(state, op) {
  if (!Array.isArray(op) || typeof op[0] !== "string") throw new TypeError('an operation is an array such as ["increment", 1]');
  const name = op[0];
  const operation = Object.hasOwn(OPERATIONS, name) ? OPERATIONS[name] : null;
  if (!operation) throw new UnknownAction(`there is no operation ${name}`);
  const given = name === "put" ? op.slice(1).reverse() : op.slice(1);
  const takes = operation.accepts ? 1 : 0;
  const path = given.length > takes ? given[takes] : [];
  const fits = given.length >= takes && given.length <= takes + 1 && (name !== "put" || given.length === 2);
  if (!fits || (operation.accepts && !operation.accepts(given[0]))) throw new TypeError(`the arguments of ${name} are wrong`);
  if (!Array.isArray(path) || !path.every(isStep)) throw new TypeError(`the path of ${name} is wrong`);
  return at(state, path, (value) => operation.apply(value, given[0]));
}

/** @type {Record<string, any>} */
const EMPTY = { increment: 0, append: [], extend: [], remove: [], merge: {}, toggle: false };

/** What a value may have been before its first operation; null if that does not tell. @param {any} op @returns {any} */
export function valueBefore(op) {
  if (!Array.isArray(op)) return null;
  const [name, argument, last] = op;
  const path = name === "put" || name === "toggle" ? argument : last;
  if (Array.isArray(path) && path.length) return typeof path[0] === "string" ? {} : [];
  if (name === "min" || name === "max") return argument;
  return Object.hasOwn(EMPTY, name) ? EMPTY[name] : null;
}

/** @param {any} step */
const isStep = (step) => typeof step === "string" || (Number.isInteger(step) && step >= 0);

/** `state` with the part at `path` changed. @param {any} state @param {any[]} path @param {(value: any) => any} change @returns {any} */
function at(state, path, change) {
  if (!path.length) return change(state);
  const [step, ...rest] = path;
  if (typeof step === "string") {
    const members = or(state, {});
    if (!isObject(members)) throw new Reject(`there is no key ${step} in ${describe(members)}`);
    return { ...members, [step]: at(Object.hasOwn(members, step) ? members[step] : MISSING, rest, change) };
  }
  if (!Array.isArray(state) || step >= state.length) throw new Reject(`there is no index ${step} in ${describe(state)}`);
  return state.with(step, at(state[step], rest, change));
}

/** @param {any} value */
const describe = (value) => (value === MISSING ? "a part that does not exist" : `a value of kind ${kindOf(value)}`);
