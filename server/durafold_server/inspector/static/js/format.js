// @ts-check
/** Numbers, sizes and times for people. */

const counts = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
});
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** @param {number} n */
export const number = (n) => counts.format(n);

/** `1 message`, `2 messages`. @param {number} n @param {string} noun */
export const plural = (n, noun) => `${counts.format(n)} ${noun}${n === 1 ? "" : "s"}`;

/** @param {number} n */
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  for (const unit of ["kB", "MB", "GB", "TB"]) {
    n /= 1000;
    if (n < 999.5 || unit === "TB") return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${unit}`;
  }
  return "";
}

/** Time of day if it is today, else the date too. @param {number} ms since 1970 */
export function time(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "";
  const today = new Date().toDateString() === date.toDateString();
  return today ? clock.format(date) : `${date.toISOString().slice(0, 10)} ${clock.format(date).slice(0, 8)}`;
}

/** @param {number} ms since 1970 */
export const dateTime = (ms) => (Number.isNaN(new Date(ms).getTime()) ? "" : moment.format(ms));

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** A name as a person reads it: `caf%C3%A9` → `café`. @param {string} path */
export function readable(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
