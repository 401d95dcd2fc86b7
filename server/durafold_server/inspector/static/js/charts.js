// @ts-check
/** Small charts: one line over time, with its last value beside it. */

import { h, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [240, 56];

/**
 * @param {string} title @param {string} value as text @param {(number | null)[]} points oldest first
 * @param {string} [note]
 */
export function chart(title, value, points, note) {
  return h(
    "figure.chart",
    null,
    h("figcaption", null, h("span.chart-title", null, title), h("span.chart-value", null, value), note ? h("span.chart-note", null, note) : null),
    spark(points, `${title}: ${value}`),
  );
}

/** @param {(number | null)[]} points @param {string} label */
function spark(points, label) {
  const known = points.filter((one) => one !== null);
  const top = Math.max(1e-9, ...known);
  const steps = Math.max(points.length - 1, 29);
  const at = (/** @type {number} */ i) => ((steps - (points.length - 1 - i)) / steps) * WIDTH;
  const line = points.map((one, i) => [at(i), HEIGHT - 3 - ((one ?? 0) / top) * (HEIGHT - 8)]);
  const path = line.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const area = line.length ? `${path}L${WIDTH} ${HEIGHT}L${line[0][0].toFixed(1)} ${HEIGHT}Z` : "";
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "spark", role: "img", "aria-label": label, preserveAspectRatio: "none" },
    svg("path", { d: area, class: "spark-area" }),
    svg("path", { d: path, class: "spark-line" }),
  );
}
