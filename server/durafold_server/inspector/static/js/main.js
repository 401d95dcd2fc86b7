// @ts-check
/** Puts the page together: bar, streams, the stream or the overview, keys. */

import { Client, explain } from "./client.js";
import { askForStream, askForToken, showKeys } from "./dialogs.js";
import { button, fill, h, icon } from "./dom.js";
import { Metrics } from "./metrics.js";
import { Overview } from "./overview.js";
import { startRouter, streamLink } from "./router.js";
import { applyTheme, nextTheme, recentStreams, rememberStream, theme, token } from "./settings.js";
import { Shortcuts } from "./shortcuts.js";
import { StreamPage } from "./stream.js";
import { Streams } from "./streams.js";
import { toast } from "./toast.js";
import { StreamTree } from "./tree.js";

/** The sizes of so many streams are asked for again and again while they change; others when they are opened. */
const MAX_MEASURED = 1000;
const THEME_ICONS = /** @type {const} */ ({ auto: "auto", light: "sun", dark: "moon" });

class App {
  /** @param {string} root path of the stream root @param {string} version */
  constructor(root, version) {
    this.version = version;
    this.client = new Client(location.origin + root, token, () => askForToken(() => this.restart()));
    this.streams = new Streams(this.client, () => this.listed());
    this.metrics = new Metrics(this.client, () => this.measured());
    this.shortcuts = new Shortcuts();
    this.tree = new StreamTree((path) => this.open(path));
    this.overview = new Overview({ oncreate: () => this.create() });
    this.page = new StreamPage(this.client, {
      onchange: () => this.streams.refreshSoon(),
      onsize: (path, bytes) => this.streams.measured(path, bytes),
      onopen: (path) => this.open(path),
      ongone: () => this.goHome(),
    });
    /** @type {import("./router.js").Route} */
    this.route = { path: null, query: new URLSearchParams() };
    this.makeParts();
  }

  makeParts() {
    this.search = h("input", {
      type: "search",
      placeholder: "Search streams",
      "aria-label": "Search streams",
      spellcheck: "false",
      oninput: () => this.tree.find(this.search.value),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.searchKey(event),
    });
    this.themeButton = h("button.quiet", { type: "button", onclick: () => this.changeTheme() });
    this.note = h("p.side-note", { role: "status" });
    const side = h(
      "nav.side",
      { "aria-label": "Streams" },
      h("div.side-head", null, h("label.search", null, icon("search"), this.search, h("kbd", { "aria-hidden": "true" }, "/")), button("plus", "New stream (n)", () => this.create(), { class: ".primary" })),
      this.tree.element,
      this.note,
    );
    const bar = h(
      "header.top",
      null,
      button("menu", "Streams", () => this.showSide(), { class: ".quiet.menu" }),
      h("a.brand", { href: "#/", "aria-label": "durafold inspector, overview" }, h("img", { src: "logo.svg", alt: "", width: "22", height: "22" }), h("strong", null, "durafold"), h("span", null, "inspector")),
      h("span.spring"),
      h("span.version", null, this.version),
      button("key", "Access token", () => askForToken(() => this.restart()), { class: ".quiet" }),
      this.themeButton,
      button("help", "Keys (?)", () => this.showKeys(), { class: ".quiet" }),
    );
    this.drawTheme();
    const shade = h("div.shade", { onclick: () => this.showSide(false) });
    document.body.append(bar, side, shade, h("main", null, this.overview.element, this.page.element));
    this.setKeys();
  }

  setKeys() {
    this.shortcuts.set("Everywhere", [
      { keys: ["/"], what: "search streams", run: () => this.focusSearch() },
      { keys: ["n"], what: "new stream", run: () => this.create() },
      { keys: ["h"], what: "overview", run: () => this.goHome() },
      { keys: ["t"], what: "light, dark, or as the system", run: () => this.changeTheme() },
      { keys: ["?"], what: "this help", run: () => this.showKeys() },
    ]);
    this.shortcuts.set("In a stream", this.page.shortcuts().map((one) => ({ ...one, run: () => this.inStream(one) })));
    addEventListener("keydown", (event) => {
      const tab = /** @type {const} */ ({ 1: "messages", 2: "state", 3: "details" })[event.key];
      const typing = /** @type {Element} */ (event.target).closest("input:not([type=range]), textarea, select, dialog");
      if (tab && this.route.path && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) this.page.showTab(tab);
    });
  }

  /** @param {import("./shortcuts.js").Shortcut} shortcut */
  inStream(shortcut) {
    return this.route.path === null ? false : shortcut.run();
  }

  async start() {
    this.page.travel.setRegistered(await this.client.api("reducers").catch(() => []));
    startRouter((route) => this.show(route));
    await this.restart(false);
  }

  /** Begin anew, for example with another token. @param {boolean} [reopen] */
  async restart(reopen = true) {
    this.streams.stop();
    this.metrics.start();
    try {
      await this.streams.refresh();
    } catch (error) {
      toast(explain(error), "bad");
    }
    if (reopen) this.show(this.route);
  }

  /** There are new numbers of the server; where something was appended, sizes are others too. */
  measured() {
    this.overview.showMetrics(this.metrics);
    if (this.metrics.points.at(-1)?.appends && this.streams.all.size <= MAX_MEASURED) this.streams.refreshSoon();
  }

  listed() {
    this.tree.show(this.streams.all.values());
    if (this.route.path === null) this.showOverview();
    const partial = this.streams.source === "recent" ? "This server lists no streams: the ones below were opened here. Search for a name and press Enter to open another." : "";
    fill(this.note, partial);
    this.note.hidden = !partial;
  }

  /** @param {import("./router.js").Route} route */
  show(route) {
    this.route = route;
    this.showSide(false);
    const { path } = route;
    this.tree.setCurrent(path ?? "");
    this.overview.element.hidden = path !== null;
    document.title = path ? `${path} · durafold` : "durafold inspector";
    if (path === null) {
      this.page.leave();
      if (this.streams.all.size) this.streams.refreshSoon();
      return this.showOverview();
    }
    rememberStream(path);
    this.page.open(path, route.query);
  }

  showOverview() {
    this.overview.show(this.streams, recentStreams(), this.client.root);
  }

  /** @param {string} path */
  open(path) {
    location.hash = streamLink(path);
  }

  goHome() {
    location.hash = "#/";
  }

  create() {
    askForStream((path, headers, body) => this.page.create(path, headers, body), { root: this.client.root });
  }

  /** @param {KeyboardEvent} event */
  searchKey(event) {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.tree.rows.element.focus();
      this.tree.step(1);
    } else if (event.key === "Enter" && this.search.value.trim() && !this.tree.openFirst()) {
      this.open(this.search.value.trim().split("/").map(encodeURIComponent).join("/"));
    }
  }

  focusSearch() {
    this.showSide(true);
    this.search.focus();
    this.search.select();
  }

  /** On small screens the streams are behind a button. @param {boolean} [shown] */
  showSide(shown) {
    document.body.classList.toggle("side-open", shown);
  }

  changeTheme() {
    nextTheme();
    this.drawTheme();
  }

  drawTheme() {
    const chosen = theme();
    fill(this.themeButton, icon(THEME_ICONS[chosen]));
    const label = `Theme: ${chosen === "auto" ? "as the system" : chosen} (t)`;
    this.themeButton.title = label;
    this.themeButton.setAttribute("aria-label", label);
  }

  showKeys() {
    showKeys(this.shortcuts.groups);
  }
}

applyTheme();
try {
  const { root, version } = await (await fetch("config.json")).json();
  await new App(new URL(root, location.href).pathname, version).start();
} catch (error) {
  document.body.append(h("main", null, h("p.problem", { role: "alert" }, explain(error))));
  throw error;
}
