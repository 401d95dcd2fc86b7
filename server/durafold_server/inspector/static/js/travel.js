// @ts-check
/** Time travel: the state at any place of the stream, what the last message did to it, and where folding failed. */

import { explain } from "./client.js";
import { diff } from "./diff.js";
import { button, fill, h } from "./dom.js";
import { number } from "./format.js";
import { parse, stringify } from "./json.js";
import { oneLine, tree } from "./jsontree.js";
import { BUILT_IN, firstValue, guess } from "./reducers.js";
import { Replay } from "./replay.js";
import { ServerReplay } from "./serverfold.js";

const PLAY_MS = 350;
const MAX_MARKS = 300;
const GUESS_FROM = 20;

/** @type {Record<string, string>} */
const VERDICTS = {
  applied: "applied",
  rejected: "rejected by the reducer",
  poison: "the reducer failed",
  unknown: "unknown type of message",
  conflict: "another revision was expected",
  duplicate: "second copy, skipped",
};

/**
 * @typedef {object} Hooks
 * @property {import("./client.js").Client} client
 * @property {() => string} path
 * @property {(n: number) => string} offsetAfter offset behind the first `n` messages
 * @property {(n: number) => void} onfork fork behind the first `n` messages
 * @property {(n: number) => void} onstep
 * @property {(index: number) => void} onshow show a message in the list
 * @property {() => void} onload read the stream from its start
 */

export class Travel {
  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.hooks = hooks;
    /** @type {import("./log.js").Log | null} */
    this.log = null;
    /** @type {Replay | ServerReplay | null} */
    this.replay = null;
    /** @type {{name: string, version: string}[]} */
    this.registered = [];
    this.at = 0;
    this.atEnd = true;
    this.asked = 0;
    this.chosen = "";
    /** JSON of what a shared value begins with; empty to guess it. */
    this.initial = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.playing = undefined;
    this.makeControls();
    this.state = h("div.state-body", { tabindex: "0", "aria-label": "State" });
    this.changes = h("div.changes");
    this.message = h("div.state-message");
    this.verdict = h("span.verdict");
    this.note = h("div.banner", { hidden: true });
    this.element = h(
      "section.travel",
      { "aria-label": "State", hidden: true },
      this.note,
      this.controls,
      h("div.state-grid", null, h("section.panel", null, h("h3", null, "State"), this.state), h("section.panel", null, h("h3", null, "This step ", this.verdict), this.message, h("h3", null, "Changed"), this.changes)),
    );
  }

  makeControls() {
    this.picker = h("select", { "aria-label": "Reducer", onchange: () => this.choose(this.picker.value) });
    this.slider = h("input", { type: "range", min: "0", max: "0", value: "0", "aria-label": "Place in the stream", oninput: () => this.goTo(Number(this.slider.value)) });
    this.marks = h("div.marks", { "aria-hidden": "true" });
    this.where = h("output.where");
    this.player = button("play", "Play", () => this.play(), { class: ".quiet" });
    this.faults = h("div.faults");
    this.first = h("input.mono", { spellcheck: "false", "aria-label": "Begins with", oninput: () => this.first.setCustomValidity(""), onchange: () => this.beginWith(this.first.value) });
    this.begin = h("label.field.inline.begin", { hidden: true }, h("span", null, "Begins with"), this.first, h("span", null, "The program’s default, which is not in the stream: a guess until you write it."));
    this.controls = h(
      "div.controls",
      null,
      h("label.field.inline", null, h("span", null, "Reducer"), this.picker),
      h(
        "div.transport",
        null,
        button("first", "To the start", () => this.goTo(0), { class: ".quiet" }),
        button("back", "One message back (←)", () => this.step(-1), { class: ".quiet" }),
        this.player,
        button("next", "One message on (→)", () => this.step(1), { class: ".quiet" }),
        button("last", "To the end", () => this.goTo(this.log?.count ?? 0), { class: ".quiet" }),
      ),
      h("div.slider", null, this.slider, this.marks),
      this.where,
      button("fork", "Fork the stream at this point", () => this.hooks.onfork(this.at), { text: "Fork here" }),
      this.faults,
      this.begin,
    );
  }

  /** @param {{name: string, version: string}[]} registered reducers of the server */
  setRegistered(registered) {
    this.registered = registered;
    fill(
      this.picker,
      h("optgroup", { label: "Built in" }, BUILT_IN.map((one) => h("option", { value: one.id, title: one.hint }, one.label))),
      registered.length ? h("optgroup", { label: "On the server" }, registered.map((one) => h("option", { value: one.name }, one.name))) : null,
    );
    this.picker.value = this.chosen;
  }

  /** Another log is shown; the place is kept if it is given. @param {import("./log.js").Log} log @param {{step?: number, reducer?: string, initial?: string}} [wish] */
  open(log, wish = {}) {
    this.stop();
    this.replay?.dispose();
    this.replay = null;
    this.log = log;
    this.chosen = wish.reducer ?? "";
    this.initial = wish.initial ?? "";
    this.at = wish.step ?? 0;
    this.atEnd = wish.step === undefined;
  }

  /** Show the tab. */
  async show() {
    const log = this.log;
    const whole = log !== null && log.mode === "json" && log.from === "-1" && log.count > 0;
    this.controls.hidden = !whole;
    const strange = whole && !this.registered.length && !this.fitting(log);
    this.note.hidden = whole && !strange;
    if (log && log.mode !== "json") fill(this.note, "Only streams of JSON can be folded.");
    else if (log?.from === "-1") fill(this.note, "There is nothing to fold yet.");
    else if (!whole) fill(this.note, "A state is folded from the start of a stream. ", h("button.link", { type: "button", onclick: this.hooks.onload }, "Read it from the start"));
    if (strange) fill(this.note, "These messages want a reducer that this server does not know. Name it when the server starts: ", h("code", null, "durafold serve --reducers module:name"));
    if (!whole) return fill(this.state);
    if (!this.replay) await this.choose(this.chosen || this.best(log));
    else await this.grown();
  }

  /** The built-in reducer that fits the first messages, or null. @param {import("./log.js").Log} log */
  fitting(log) {
    for (let i = 0; i < Math.min(log.count, GUESS_FROM); i++) {
      const found = guess(log.value(i));
      if (found) return found;
    }
    return null;
  }

  /** What to fold with unless something is chosen. @param {import("./log.js").Log} log */
  best(log) {
    return this.fitting(log)?.id ?? this.registered[0]?.name ?? BUILT_IN[0].id;
  }

  /** @param {string} id @returns {Promise<void>} */
  async choose(id) {
    const log = /** @type {import("./log.js").Log} */ (this.log);
    this.replay?.dispose();
    const local = BUILT_IN.find((one) => one.id === id);
    const remote = this.registered.find((one) => one.name === id);
    if (!local && !remote) return this.choose(this.best(log));
    this.chosen = id;
    this.picker.value = id;
    this.begin.hidden = true;
    this.replay = local ? new Replay(log, this.begun(local, log)) : new ServerReplay(this.hooks.client, this.hooks.path(), /** @type {any} */ (remote), this.hooks.offsetAfter);
    return this.grown();
  }

  /** A reducer with the value that the stream begins with, which is shown if it matters. @param {import("./reducers.js").Reducer} reducer @param {import("./log.js").Log} log */
  begun(reducer, log) {
    const guessed = reducer === BUILT_IN[0] ? firstValue(log.value(0)) : undefined;
    if (guessed === undefined) return reducer;
    const given = parsed(this.initial);
    const initial = given === undefined ? guessed : given;
    this.begin.hidden = false;
    this.first.value = stringify(initial);
    return { ...reducer, initial };
  }

  /** Fold a shared value again from another beginning. @param {string} text */
  beginWith(text) {
    this.initial = text.trim();
    if (!this.initial || parsed(this.initial) !== undefined) return this.choose(this.chosen);
    this.first.setCustomValidity("This is not JSON");
    this.first.reportValidity();
  }

  /** The log has grown, or another reducer folds it. */
  async grown() {
    const { log, replay } = this;
    if (!log || !replay || this.element.hidden) return;
    this.slider.max = String(log.count);
    this.goTo(this.atEnd ? log.count : this.at);
    try {
      await replay.scan(log.count);
    } catch {
      return; // the step has told it
    }
    if (replay === this.replay) this.showFaults();
  }

  /** @param {number} by */
  step(by) {
    this.stop();
    this.goTo(this.at + by);
  }

  /** @param {number} n so many messages are folded */
  async goTo(n) {
    const { log, replay } = this;
    if (!log || !replay) return;
    this.at = Math.max(0, Math.min(log.count, n));
    this.atEnd = this.at === log.count;
    this.slider.value = String(this.at);
    fill(this.where, h("strong", null, number(this.at)), ` of ${number(log.count)}`);
    this.hooks.onstep(this.at);
    const asked = ++this.asked;
    try {
      const step = await replay.at(this.at);
      if (asked === this.asked) this.draw(step, log);
    } catch (error) {
      if (asked === this.asked) fill(this.state, h("p.problem", { role: "alert" }, explain(error)));
    }
  }

  /** @param {import("./replay.js").Step} step @param {import("./log.js").Log} log */
  draw(step, log) {
    const changes = step.verdict ? diff(step.before ?? null, step.state) : [];
    const marks = new Map(changes.filter((one) => one.kind !== "removed").map((one) => [one.path, one.kind]));
    const top = this.state.scrollTop;
    fill(this.state, tree(step.state, { open: 3, marks }));
    this.state.scrollTop = top;
    this.verdict.className = `verdict ${step.verdict ?? ""}`;
    fill(this.verdict, step.verdict ? VERDICTS[step.verdict] : "before the first message");
    fill(
      this.message,
      this.at ? h("button.step-message", { type: "button", title: "Show it in the list", onclick: () => this.hooks.onshow(this.at - 1) }, oneLine(log.text(this.at - 1).slice(0, 600))) : null,
      step.reason && step.verdict !== "applied" ? h("p.problem", null, step.reason) : null,
    );
    fill(this.changes, changes.length ? changes.map(changeLine) : h("p.hint", null, step.verdict ? "Nothing." : "Step on, or press play."));
  }

  showFaults() {
    const { log, replay } = this;
    if (!log || !replay) return;
    const bad = replay.faults;
    const shown = bad.slice(0, MAX_MARKS).map(({ position, verdict }) => {
      const mark = h(`span.mark.${verdict}`);
      mark.style.left = `${((position + 1) / Math.max(1, log.count)) * 100}%`;
      return mark;
    });
    fill(this.marks, shown);
    const next = () => this.goTo((bad.find((one) => one.position >= this.at) ?? bad[0]).position + 1);
    fill(this.faults, bad.length ? h("button.link.warn", { type: "button", onclick: next }, `${number(bad.length)} not applied: show the next`) : null);
  }

  play() {
    if (this.playing) return this.stop();
    if (this.log && this.at >= this.log.count) this.goTo(0);
    fill(this.player, ...button("pause", "Pause", () => {}).childNodes);
    this.player.title = "Pause";
    this.player.setAttribute("aria-label", "Pause");
    const tick = async () => {
      if (!this.log || this.at >= this.log.count) return this.stop();
      await this.goTo(this.at + 1);
      if (this.playing) this.playing = setTimeout(tick, PLAY_MS);
    };
    this.playing = setTimeout(tick, PLAY_MS);
  }

  stop() {
    clearTimeout(this.playing);
    this.playing = undefined;
    fill(this.player, ...button("play", "Play", () => {}).childNodes);
    this.player.title = "Play (space)";
    this.player.setAttribute("aria-label", "Play");
  }

  /** No log is shown any more. */
  close() {
    this.stop();
    this.replay?.dispose();
    this.replay = this.log = null;
  }
}

/** Undefined if it is no JSON. @param {string} text @returns {any} */
function parsed(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

/** @param {import("./diff.js").Change} change */
function changeLine({ path, kind, before, after }) {
  const short = (/** @type {any} */ value) => oneLine(stringify(value).slice(0, 300));
  return h(
    `div.change.${kind}`,
    null,
    h("span.change-path", null, path || "the whole state"),
    kind === "added" ? null : h("span.old", null, short(before)),
    kind === "removed" ? null : h("span.new", null, short(after)),
  );
}
