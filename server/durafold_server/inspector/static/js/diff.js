// @ts-check
/** What changed between two JSON values, part by part. */

import { equal, kindOf } from "./json.js";

const MAX_CHANGES = 200;

/** @typedef {{path: string, kind: "added" | "removed" | "changed", before?: any, after?: any}} Change */

/** @param {any} before @param {any} after @returns {Change[]} at most 200 */
export function diff(before, after) {
  /** @type {Change[]} */
  const changes = [];
  compare(before, after, "", changes);
  return changes;
}

/** @param {any} before @param {any} after @param {string} path @param {Change[]} changes */
function compare(before, after, path, changes) {
  if (before === after || changes.length >= MAX_CHANGES) return;
  const kind = kindOf(after);
  if (kind === kindOf(before) && kind === "object") compareObjects(before, after, path, changes);
  else if (kind === kindOf(before) && kind === "list") compareLists(before, after, path, changes);
  else if (!equal(before, after)) changes.push({ path, kind: "changed", before, after });
}

/** @param {any} before @param {any} after @param {string} path @param {Change[]} changes */
function compareObjects(before, after, path, changes) {
  for (const key of Object.keys(before)) {
    if (!Object.hasOwn(after, key)) changes.push({ path: `${path}/${key}`, kind: "removed", before: before[key] });
    else compare(before[key], after[key], `${path}/${key}`, changes);
  }
  for (const key of Object.keys(after)) {
    if (!Object.hasOwn(before, key)) changes.push({ path: `${path}/${key}`, kind: "added", after: after[key] });
  }
}

/**
 * Lists are aligned at their ends, so that an item put in or taken out is one change, not a shift of all.
 * @param {any[]} before @param {any[]} after @param {string} path @param {Change[]} changes
 */
function compareLists(before, after, path, changes) {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && equal(before[head], after[head])) head++;
  let tail = 0;
  while (tail < shorter - head && equal(before[before.length - 1 - tail], after[after.length - 1 - tail])) tail++;
  const [gone, come] = [before.length - head - tail, after.length - head - tail];
  for (let i = 0; i < Math.min(gone, come); i++) compare(before[head + i], after[head + i], `${path}/${head + i}`, changes);
  for (let i = Math.min(gone, come); i < gone && changes.length < MAX_CHANGES; i++) {
    changes.push({ path: `${path}/${head + i}`, kind: "removed", before: before[head + i] });
  }
  for (let i = Math.min(gone, come); i < come && changes.length < MAX_CHANGES; i++) {
    changes.push({ path: `${path}/${head + i}`, kind: "added", after: after[head + i] });
  }
}
