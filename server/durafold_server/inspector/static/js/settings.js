// @ts-check
/** What the page remembers: the theme and recent streams for good, the token for this tab only. */

const THEME = "durafold.theme";
const RECENT = "durafold.recent";
const HISTORY = "durafold.history";
const TOKEN = "durafold.token";
const MAX_RECENT = 12;
const MAX_HISTORY = 50;

/** @typedef {"auto" | "light" | "dark"} Theme */
/** @type {Theme[]} */
const THEMES = ["auto", "light", "dark"];

/** @returns {Theme} */
export function theme() {
  const stored = /** @type {Theme} */ (localStorage.getItem(THEME));
  return THEMES.includes(stored) ? stored : "auto";
}

/** Show the theme that was chosen. */
export function applyTheme() {
  document.documentElement.dataset.theme = theme();
}

/** @returns {Theme} the next one */
export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  localStorage.setItem(THEME, next);
  applyTheme();
  return next;
}

/** The bearer token, gone when the tab is closed. */
export const token = () => sessionStorage.getItem(TOKEN) ?? "";

/** @param {string} value */
export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

/** @param {string} key @returns {string[]} */
function list(key) {
  try {
    const value = JSON.parse(localStorage.getItem(key) ?? "[]");
    return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

/** @param {string} key @param {string} value @param {number} limit */
function remember(key, value, limit) {
  const values = [value, ...list(key).filter((one) => one !== value)].slice(0, limit);
  localStorage.setItem(key, JSON.stringify(values));
}

/** Paths of streams looked at, the last one first. */
export const recentStreams = () => list(RECENT);
/** @param {string} path */
export const rememberStream = (path) => remember(RECENT, path, MAX_RECENT);

/** Messages written here, the last one first. */
export const writtenMessages = () => list(HISTORY);
/** @param {string} text */
export const rememberMessage = (text) => remember(HISTORY, text, MAX_HISTORY);
