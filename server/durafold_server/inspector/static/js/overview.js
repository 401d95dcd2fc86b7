// @ts-check
/** The first page: the server's numbers, and what to do next. */

import { chart } from "./charts.js";
import { button, fill, h } from "./dom.js";
import { bytes, duration, number, readable } from "./format.js";
import { modeOf } from "./log.js";
import { streamLink } from "./router.js";

const SHOWN = 8;

export class Overview {
  /** @param {{oncreate(): void}} hooks */
  constructor(hooks) {
    this.hooks = hooks;
    this.charts = h("div.charts", { hidden: true });
    this.head = h("div");
    this.recent = h("div");
    /** Whose cards are shown. */
    this.paths = "";
    this.element = h("section.overview", { hidden: true, "aria-label": "Overview" }, this.head, this.charts, this.recent);
  }

  /** @param {import("./streams.js").Streams} streams @param {string[]} recent @param {string} root */
  show(streams, recent, root) {
    const all = [...streams.all.values()].filter((stream) => !stream.path.startsWith("__"));
    const size = all.reduce((sum, stream) => sum + (stream.bytes ?? 0), 0);
    const known = all.some((stream) => stream.bytes !== null);
    const [closed, forks] = [all.filter((stream) => stream.closed).length, all.filter((stream) => stream.forkedFrom).length];
    const facts = [
      [number(all.length), all.length === 1 ? "stream" : "streams"],
      known ? [bytes(size), "of data"] : null,
      closed ? [number(closed), "closed"] : null,
      forks ? [number(forks), forks === 1 ? "fork" : "forks"] : null,
    ];
    const visited = recent.map((path) => streams.all.get(path)).filter((one) => one !== undefined);
    const shown = [...new Set([...visited, ...all])].slice(0, SHOWN);
    fill(
      this.head,
      h("header.hero", null, h("h1", null, "Streams"), h("p.mono", null, root)),
      all.length ? h("div.numbers", null, facts.map((fact) => fact && h("div.number", null, h("strong", null, fact[0]), h("span", null, fact[1])))) : this.welcome(),
    );
    this.showRecent(shown);
  }

  /** Cards of the same streams stay: a click on one, or the pointer over it, must not be lost to a number. @param {import("./streams.js").Stream[]} streams */
  showRecent(streams) {
    const paths = streams.map((stream) => stream.path).join("\n");
    if (paths !== this.paths) fill(this.recent, streams.length ? [h("h2", null, "Recent"), h("ul.cards", null, streams.map(card))] : null);
    this.paths = paths;
    const hints = this.recent.querySelectorAll(".hint");
    streams.forEach((stream, i) => fill(hints[i], notes(stream)));
  }

  welcome() {
    return h(
      "div.welcome",
      null,
      h("p", null, "There are no streams yet. Make one here, or let a program write one: what it appends shows at once."),
      button("plus", "New stream (n)", this.hooks.oncreate, { text: "New stream", class: ".primary" }),
    );
  }

  /** @param {import("./metrics.js").Metrics} metrics */
  showMetrics({ available, points }) {
    this.charts.hidden = !available || points.length === 0;
    if (this.charts.hidden) return;
    const last = points[points.length - 1];
    const spent = [...points].reverse().find((point) => point.p50 !== null);
    const rate = (/** @type {number | null} */ value) => number(Math.round((value ?? 0) * 10) / 10);
    fill(
      this.charts,
      last.appends === null ? null : chart("Appends", `${rate(last.appends)}/s`, points.map((one) => one.appends), `${rate(last.messages)} messages/s`),
      last.readers === null ? null : chart("Live readers", number(last.readers), points.map((one) => one.readers)),
      spent ? chart("Append latency", duration(spent.p50 ?? 0), points.map((one) => one.p50), `p99 ${duration(spent.p99 ?? 0)}`) : null,
    );
  }
}

/** @param {import("./streams.js").Stream} stream */
function card(stream) {
  const kind = stream.contentType ? modeOf(stream.contentType) : "json";
  return h(
    "li",
    null,
    h("a.card", { href: streamLink(stream.path) }, h(`span.dot.${kind}`), h("span.card-name", null, readable(stream.path)), h("span.hint")),
  );
}

/** What is to be said of a stream beside its name. @param {import("./streams.js").Stream} stream */
function notes(stream) {
  const all = [stream.bytes === null ? null : bytes(stream.bytes), stream.forkedFrom ? "fork" : null, stream.closed ? "closed" : null, stream.lifetime];
  return all.filter(Boolean).join(" · ");
}
