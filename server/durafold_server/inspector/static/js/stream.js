// @ts-check
/** The page of one stream: its log and who fills it, three tabs over it, and what can be done with it. */

import { explain, Refused } from "./client.js";
import { Composer } from "./compose.js";
import { askForStream, askToConfirm, showTexts } from "./dialogs.js";
import { button, fill, h, onceAFrame } from "./dom.js";
import { Facts } from "./facts.js";
import { bytes, duration, number, plural, readable } from "./format.js";
import { Follower } from "./live.js";
import { Log, modeOf } from "./log.js";
import { Messages } from "./messages.js";
import { OffsetMap, positionOf } from "./offsets.js";
import { replaceRoute, streamLink } from "./router.js";
import { token } from "./settings.js";
import { asCommand, asCurl, asPython } from "./snippets.js";
import { copy, toast } from "./toast.js";
import { Travel } from "./travel.js";

const WHOLE_BYTES = 48 * 1024 * 1024;
const LAST = 2000;
const MAX_LOG_BYTES = 512 * 1024 * 1024;
const TABS = /** @type {const} */ (["messages", "state", "details"]);
const RESERVED = /^(__registry__|__ds\/)/;
const MEASURE_MS = 500;

/** @type {Record<import("./live.js").Status, string>} */
const STATUS = { loading: "Loading", live: "Live", paused: "Paused", reconnecting: "Reconnecting", closed: "Complete", failed: "Stopped" };

export class StreamPage {
  /**
   * @param {import("./client.js").Client} client
   * @param {{onchange(): void, onsize(path: string, bytes: number): void, onopen(path: string): void, ongone(): void}} hooks
   */
  constructor(client, hooks) {
    this.client = client;
    this.hooks = hooks;
    this.path = "";
    this.contentType = "";
    this.closed = false;
    /** @type {Record<string, any> | null} */
    this.meta = null;
    this.headers = new Headers();
    /** @type {Log | null} */
    this.log = null;
    /** @type {Follower | null} */
    this.follower = null;
    /** @type {typeof TABS[number]} */
    this.tab = "messages";
    /** Numbers the openings, so that a slow one does not draw over a later one. */
    this.opening = 0;
    /** @type {string} */
    this.selected = "";
    /** @type {import("./live.js").Status} */
    this.status = "loading";
    /** @type {OffsetMap | null} */
    this.offsets = null;
    /** Offset of a message to select once it is there. @type {string | null} */
    this.target = null;
    /** What a link asks time travel for. @type {{step?: number, reducer?: string, initial?: string}} */
    this.wish = {};
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.measuring = null;
    this.changed = onceAFrame(() => this.grown());
    this.messages = this.makeMessages();
    this.travel = this.makeTravel();
    this.facts = new Facts();
    this.composer = new Composer((text) => this.append(text));
    this.makeParts();
  }

  makeMessages() {
    return new Messages({
      onseek: (place) => this.seek(place),
      onfollow: () => this.drawActions(),
      onselect: (index) => this.remember(index),
      link: (index) => location.href.split("#")[0] + streamLink(this.path, { offset: this.tokenOf(index) }),
      onstate: (index) => this.showStateAt(index + 1),
      onfork: (index) => this.fork(index + 1),
      token: (position) => this.token(position),
    });
  }

  makeTravel() {
    return new Travel({
      client: this.client,
      path: () => this.path,
      offsetAfter: (n) => this.offsetAfter(n),
      onfork: (n) => this.fork(n),
      onstep: (n) => this.tab === "state" && replaceRoute(this.link({ step: String(n) })),
      onshow: (index) => {
        this.showTab("messages");
        this.messages.setFilter("");
        this.messages.select(index, "center");
      },
      onload: () => this.load("-1"),
    });
  }

  makeParts() {
    this.title = h("h1.stream-title");
    this.badges = h("div.badges");
    this.light = h("span.status", { role: "status" });
    this.actions = h("div.actions");
    this.tabs = h("div.tabs", { role: "tablist", "aria-label": "View" });
    this.problem = h("div.banner.bad", { role: "alert", hidden: true });
    this.element = h(
      "section.stream",
      { hidden: true },
      h("header.stream-head", null, h("div.stream-name", null, this.title, this.badges), this.actions),
      h("div.bar", null, this.tabs, this.light),
      this.problem,
      this.messages.element,
      this.travel.element,
      this.facts.element,
      this.composer.element,
    );
  }

  /** @param {string} path @param {URLSearchParams} query */
  async open(path, query) {
    const opening = ++this.opening;
    this.leave();
    Object.assign(this, { path, meta: null, selected: "", closed: false, status: "loading" });
    this.element.hidden = false;
    this.problem.hidden = true;
    this.composer.turnTo(path);
    fill(this.title, ...crumbs(path));
    fill(this.badges);
    fill(this.light, h("span.light"), STATUS.loading);
    const wish = query.get("tab");
    this.showTab(TABS.find((tab) => tab === wish) ?? "messages", false);
    try {
      await this.describe();
    } catch (error) {
      if (opening === this.opening) this.fail(error);
      return;
    }
    if (opening !== this.opening) return;
    const step = query.get("step");
    this.wish = { step: step === null ? undefined : Number(step), reducer: query.get("reducer") ?? undefined, initial: query.get("initial") ?? undefined };
    await this.load(query.get("from") ?? (await this.whereToBegin(query.get("offset"))), query.get("offset"));
  }

  /** Ask what the stream is. */
  async describe() {
    await this.measure();
    this.contentType = this.headers.get("content-type") ?? "";
    this.closed = this.headers.get("stream-closed") === "true";
    this.offsets = this.meta ? new OffsetMap(this.meta.segments) : null;
    this.drawHead();
  }

  /** Ask how far the stream reaches by now. */
  async measure() {
    const { opening, path } = this;
    const headers = await this.client.head(path);
    const meta = await this.client.api(`stream?stream=${encodeURIComponent(path)}`).catch((error) => {
      if (!(error instanceof Refused)) throw error;
      return null;
    });
    if (opening !== this.opening) return;
    Object.assign(this, { headers, meta });
    if (meta) this.hooks.onsize(path, meta.tail - meta.start);
  }

  /** The same while it grows, not for each message: its end is known from them, its start moves with retention. */
  measureSoon() {
    this.measuring ??= setTimeout(async () => {
      await this.measure().catch(() => {}); // the follower says what is wrong
      this.measuring = null;
      if (this.tab === "details" && !this.facts.isSelected) this.drawFacts();
    }, MEASURE_MS);
  }

  /** The start, if the stream is of moderate size; else its end, or the place that a link names. @param {string | null} offset */
  async whereToBegin(offset) {
    if (!this.meta || this.meta.tail - this.meta.start <= WHOLE_BYTES) return "-1";
    return offset ?? (await this.lastOffset(LAST));
  }

  /** @param {number} count */
  async lastOffset(count) {
    return (await this.client.api(`last?stream=${encodeURIComponent(this.path)}&count=${count}`)).offset;
  }

  /** Read from an offset on, and follow. @param {string} from @param {string | null} [select] offset to show */
  async load(from, select = null) {
    this.follower?.stop();
    this.travel.close();
    const start = this.meta?.start ?? 0;
    if (positionOf(from) === start) from = "-1";
    const log = new Log(modeOf(this.contentType), from, from === "-1" ? start : (positionOf(from) ?? 0));
    if (!this.offsets) log.exact = false;
    this.log = log;
    this.target = select;
    this.messages.open(log);
    this.travel.open(log, this.wish);
    this.wish = {};
    this.messages.follow(select === null);
    this.sayWhere();
    this.follower = new Follower(this.client, this.path, from, {
      page: (data, next, live) => this.take(log, data, next, live),
      status: (status, error) => this.setStatus(status, error),
    });
    this.follower.start();
  }

  /** @param {Log} log @param {Uint8Array} data @param {string} next @param {boolean} live */
  take(log, data, next, live) {
    if (log !== this.log) return;
    log.add(data, next, positionOf(next), live);
    if (data.length || live) this.changed();
    if (data.length && live) this.measureSoon();
    if (log.length > MAX_LOG_BYTES) {
      this.follower?.stop();
      this.messages.say(`Reading stopped at ${bytes(log.length)}, to spare this browser. Go to “last 1000” for the end.`);
    }
  }

  grown() {
    const log = this.log;
    if (!log) return;
    this.messages.update();
    if (this.tab === "state" && this.status !== "loading") this.travel.show();
    const at = this.target ? positionOf(this.target) : null;
    if (at === null || !log.exact || log.position + log.length < at) return;
    const index = log.indexAt(at);
    if (index < 0 || index >= log.count) return;
    this.target = null;
    this.messages.select(index, "center");
  }

  /** @param {import("./live.js").Status} status @param {unknown} [error] */
  setStatus(status, error) {
    this.status = status;
    if (status === "closed") this.closed = true;
    this.problem.hidden = status !== "failed";
    if (error) fill(this.problem, explain(error));
    this.element.dataset.status = status;
    fill(this.light, h("span.light"), STATUS[status]);
    this.light.title = error ? explain(error) : "";
    this.changed();
    this.drawActions();
    this.drawHead();
  }

  /** @param {unknown} error */
  fail(error) {
    const missing = error instanceof Refused && error.status === 404;
    this.setStatus("failed", missing ? new Error("There is no stream of this name; it was deleted, or has expired.") : error);
  }

  sayWhere() {
    const { log, meta } = this;
    if (!log || log.from === "-1") return this.messages.say();
    const size = meta ? ` (${bytes(meta.tail - meta.start)})` : "";
    this.messages.say("Only a part of the stream is shown. ", h("button.link", { type: "button", onclick: () => this.load("-1") }, `Read it from the start${size}`));
  }

  drawHead() {
    const { meta } = this;
    const badge = (/** @type {string} */ text, kind = "", title = text) => h(`span.badge${kind}`, { title }, text);
    fill(
      this.badges,
      this.contentType ? badge(this.contentType, `.${modeOf(this.contentType)}`) : null,
      this.closed ? badge("closed", ".closed") : null,
      meta?.ttl_s ? badge(`TTL ${duration(meta.ttl_s)}`) : null,
      meta?.expires_at ? badge(`expires ${meta.expires_at}`) : null,
      meta?.forked_from ? h("a.badge.fork", { href: streamLink(meta.forked_from, { offset: meta.forked_at }), title: "Show where it branched off" }, `fork of ${readable(meta.forked_from)}`) : null,
      meta?.forks ? badge(plural(meta.forks, "fork")) : null,
    );
    const readOnly = RESERVED.test(this.path);
    this.composer.show({ json: modeOf(this.contentType) === "json", closed: this.closed, readOnly });
  }

  drawActions() {
    const running = this.follower?.running;
    const following = this.messages.following;
    const failed = this.status === "failed";
    fill(
      this.actions,
      failed || this.status === "closed"
        ? null
        : button(running ? "pause" : "play", running ? "Pause reading (p)" : "Read on (p)", () => this.togglePause(), { text: running ? "Pause" : "Resume" }),
      failed ? null : button("down", "Keep to the end (f)", () => this.messages.follow(!following), { text: "Follow", class: following ? ".on" : "" }),
      h("span.divider"),
      failed ? null : button("save", "Export what is shown (e)", () => this.exportLog(), { class: ".quiet" }),
      button("code", "Copy as curl, command or Python (c)", () => this.showSnippets(), { class: ".quiet" }),
      button("link", "Copy a link to this page", () => copy(location.href, "Link"), { class: ".quiet" }),
      failed ? null : button("fork", "Fork the stream", () => this.fork(null), { class: ".quiet" }),
      failed || this.closed ? null : button("lock", "Close the stream", () => this.close(), { class: ".quiet" }),
      button("trash", "Delete the stream", () => this.remove(), { class: ".quiet.danger" }),
    );
  }

  /** @param {typeof TABS[number]} tab @param {boolean} [remember] */
  showTab(tab, remember = true) {
    this.tab = tab;
    const names = { messages: "Messages", state: "State", details: "Details" };
    fill(this.tabs, TABS.map((one) => h("button", { type: "button", role: "tab", "aria-selected": String(one === tab), onclick: () => this.showTab(one) }, names[one])));
    this.messages.element.hidden = tab !== "messages";
    this.travel.element.hidden = tab !== "state";
    this.facts.element.hidden = tab !== "details";
    this.composer.element.hidden = tab === "details";
    if (remember) replaceRoute(this.link({}));
    if (tab === "state" && this.status !== "loading") this.travel.show();
    if (tab === "messages") this.messages.rows.draw();
    if (tab === "details") this.showFacts();
  }

  async showFacts() {
    try {
      await this.describe();
    } catch (error) {
      toast(explain(error), "bad");
    }
    this.drawFacts();
  }

  drawFacts() {
    const { path, meta, headers } = this;
    this.facts.show({ path, url: this.client.url(path), meta, headers });
  }

  /** @param {Record<string, string | null>} more */
  link(more) {
    const state = this.tab === "state";
    return streamLink(this.path, {
      tab: this.tab === "messages" ? null : this.tab,
      offset: state ? null : this.selected,
      reducer: state ? this.travel.chosen : null,
      initial: state ? this.travel.initial : null,
      ...more,
    });
  }

  /** @param {number} index */
  remember(index) {
    this.selected = index < 0 ? "" : this.tokenOf(index);
    replaceRoute(this.link({}));
  }

  /** @param {number} position */
  token(position) {
    return this.offsets?.token(position) ?? "";
  }

  /** Offset where a message begins. @param {number} index */
  tokenOf(index) {
    return this.log?.exact ? this.token(this.log.positionAt(index)) : "";
  }

  /** @param {number} n */
  offsetAfter(n) {
    return n === 0 ? "-1" : this.tokenOf(n);
  }

  /** Go to what is not simply a row: `last 100`, `start`, an offset. @param {string} place */
  async seek(place) {
    const last = /^(?:last|-)\s*(\d{1,6})$/.exec(place);
    try {
      if (last) return await this.load(await this.lastOffset(Number(last[1])));
      if (place === "start") return await this.load("-1", "-1");
      const position = positionOf(place);
      const log = this.log;
      if (position === null) throw new Error("Write a number, an offset, start, end, or last 100.");
      if (log?.exact && position >= log.position && position < log.position + log.length) {
        return this.messages.select(log.indexAt(position), "center");
      }
      await this.load(place, place);
    } catch (error) {
      toast(explain(error), "bad");
    }
  }

  togglePause() {
    if (this.follower?.running) this.follower.stop();
    else this.follower?.start();
    this.drawActions();
  }

  /** @param {number} n */
  showStateAt(n) {
    this.travel.at = n;
    this.travel.atEnd = false;
    this.showTab("state");
  }

  /** @param {string} text */
  async append(text) {
    await this.client.append(this.path, this.contentType, text);
    this.messages.follow(true);
  }

  /** Branch off behind the first `n` messages, or at the tail. @param {number | null} n */
  fork(n) {
    const at = n === null ? "" : this.offsetAfter(n);
    if (n !== null && !at) return toast("The offset of this message is not known; fork at the tail instead.", "bad");
    const where = n === null ? readable(this.path) : `${readable(this.path)} up to message ${number(n)}`;
    const from = { path: this.path, offset: at === "-1" ? this.token(this.meta?.start ?? 0) : at, label: where };
    const name = `${readable(this.path)}-fork${n === null ? "" : `-${n}`}`;
    askForStream((path, headers, body) => this.create(path, headers, body), { from, root: new URL(this.client.root).pathname, name });
  }

  /** @param {string} path @param {Record<string, string>} headers @param {string} body */
  async create(path, headers, body) {
    const fresh = await this.client.create(path, headers, body || undefined);
    toast(fresh ? "Created" : "It was there already, just like this");
    this.hooks.onchange();
    this.hooks.onopen(path);
  }

  close() {
    askToConfirm({
      title: "Close the stream?",
      text: "Nothing can be appended to it any more. Reading goes on.",
      action: "Close it",
      task: async () => {
        await this.client.close(this.path);
        toast("Closed");
        this.hooks.onchange();
      },
    });
  }

  remove() {
    askToConfirm({
      title: "Delete the stream?",
      text: "All that is in it is lost, for everybody. This cannot be undone.",
      action: "Delete it",
      name: readable(this.path),
      task: async () => {
        this.follower?.stop(); // it would ask for what is gone
        try {
          await this.client.remove(this.path);
        } catch (error) {
          this.follower?.start();
          throw error;
        }
        toast("Deleted");
        this.leave();
        this.hooks.onchange();
        this.hooks.ongone();
      },
    });
  }

  /** Save what is shown: one message a line, or the bytes as they are. */
  exportLog() {
    const { log, messages } = this;
    if (!log) return;
    const parts = [];
    if (log.mode === "json") {
      const rows = messages.filter?.count ?? 0;
      for (let row = 0; row < rows; row++) parts.push(log.bytes(messages.indexOf(row)), "\n");
    } else parts.push(log.whole());
    const ending = { json: "ndjson", text: "txt", binary: "bin" }[log.mode];
    const url = URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" }));
    h("a", { href: url, download: `${readable(this.path).replaceAll("/", "-")}.${ending}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
    toast(log.mode === "json" ? `${plural(parts.length / 2, "message")} exported` : `${bytes(log.length)} exported`);
  }

  showSnippets() {
    const offset = this.selected || "-1";
    const what = { url: this.client.url(this.path), offset, contentType: this.contentType, token: token() !== "" };
    const texts = [["curl", asCurl(what)], ["Command line", asCommand(what)], ["Python", asPython(what)]];
    showTexts(this.selected ? "Read from the selected message" : "Read this stream", /** @type {any} */ (texts), copy);
  }

  /** Stop reading; the page may be hidden or show another stream next. */
  leave() {
    this.follower?.stop();
    this.follower = null;
    this.messages.filter?.dispose();
    this.travel.close();
    this.log = null;
    this.element.hidden = true;
  }

  /** @returns {import("./shortcuts.js").Shortcut[]} */
  shortcuts() {
    const inList = (/** @type {() => void} */ run) => () => (this.tab === "messages" ? run() : false);
    const inState = (/** @type {() => void} */ run) => () => (this.tab === "state" ? run() : false);
    const { messages, travel } = this;
    return [
      { keys: ["j", "ArrowDown"], what: "next message", run: inList(() => messages.step(1)) },
      { keys: ["k", "ArrowUp"], what: "message before", run: inList(() => messages.step(-1)) },
      { keys: ["Home"], what: "to the start", run: inList(() => messages.go("start")) },
      { keys: ["End"], what: "to the end", run: inList(() => messages.go("end")) },
      { keys: ["PageDown"], what: "a page on", run: inList(() => messages.step(messages.rows.fitting)) },
      { keys: ["PageUp"], what: "a page back", run: inList(() => messages.step(-messages.rows.fitting)) },
      { keys: ["Escape"], what: "close the message", run: inList(() => messages.select(-1)) },
      { keys: ["f"], what: "follow the end, or stop", run: () => messages.follow(!messages.following) },
      { keys: ["p"], what: "pause reading, or read on", run: () => this.togglePause() },
      { keys: ["i", "Enter"], what: "write a message", run: () => this.composer.focus() },
      { keys: ["g"], what: "go to a number or offset", run: inList(() => messages.place.focus()) },
      { keys: ["\\"], what: "filter messages", run: inList(() => messages.search.focus()) },
      { keys: ["ArrowRight"], what: "one message on, in time travel", run: inState(() => travel.step(1)) },
      { keys: ["ArrowLeft"], what: "one message back, in time travel", run: inState(() => travel.step(-1)) },
      { keys: [" "], what: "play or pause time travel", run: inState(() => travel.play()) },
      { keys: ["e"], what: "export", run: () => this.exportLog() },
      { keys: ["c"], what: "copy as curl, command or Python", run: () => this.showSnippets() },
      { keys: ["1", "2", "3"], what: "messages, state, details", run: () => false },
    ];
  }
}

/** The path with its last part in front of the eye. @param {string} path */
function crumbs(path) {
  const parts = path.split("/").map(readable);
  const name = parts.pop();
  return [parts.length ? h("span.crumb", null, `${parts.join(" / ")} / `) : null, name];
}
