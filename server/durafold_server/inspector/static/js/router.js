// @ts-check
/** Addresses of the page: `#/`, `#/stream/<path>?tab=state&offset=…`. A link shows what its sender saw. */

/** @typedef {{path: string | null, query: URLSearchParams}} Route */

/** @param {string} hash @returns {Route} */
export function parseRoute(hash) {
  const [place, query = ""] = hash.replace(/^#/, "").split("?");
  const path = place.startsWith("/stream/") ? place.slice("/stream/".length) : "";
  return { path: path || null, query: new URLSearchParams(query) };
}

/** @param {string} path @param {Record<string, string | null>} [query] */
export function streamLink(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== "");
  const text = new URLSearchParams(/** @type {[string, string][]} */ (given)).toString();
  return `#/stream/${path}${text ? `?${text}` : ""}`;
}

/** Change the address without a step in the history. @param {string} link */
export function replaceRoute(link) {
  history.replaceState(null, "", link);
}

/** @param {(route: Route) => void} onroute */
export function startRouter(onroute) {
  addEventListener("hashchange", () => onroute(parseRoute(location.hash)));
  onroute(parseRoute(location.hash));
}
