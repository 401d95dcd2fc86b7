// The board: draws what it is given, and says what was drawn here. Tool and colour belong to this window alone.
//
// What is in the making is the `draft`. It goes to the others with the pointer, many times a second, and is
// forgotten; only the finished shape becomes an action. Until that shape comes back as one of `shapes`, it is
// shown from here. A draft with the id of a shape (one that is being moved) is shown in place of it.

import React, { useEffect, useRef, useState } from "react";
import { Cursor, Editor, Shape } from "./shapes.jsx";
import { Toolbar, toolOfKey } from "./toolbar.jsx";

const WIDTH = 1600;
const HEIGHT = 1000;
const NOTE_PX = 200; // as in shapes.jsx
const SHOW_EVERY_MS = 50;
const STEP_PX = 3; // points of a stroke are at least so far apart
const MAX_POINTS = 390; // then the stroke goes on as another one
const PATIENCE_MS = 4000; // for what was sent to come back

export function Canvas({ shapes, others, onShow, onAction }) {
  const paper = useRef(null);
  const svg = useRef(null);
  const press = useRef(null); // what the pointer does between down and up
  const [tool, setTool] = useState("stroke");
  const [color, setColor] = useState("ink");
  const [draft, setDraft] = useState(null);
  const [sent, setSent] = useState({}); // shapes as they will be, by id
  const [editing, setEditing] = useState(null);
  const show = useLatest(onShow, SHOW_EVERY_MS);
  const pointer = useRef(null);

  const waiting = Object.values(sent);
  const shownDraft = draft ?? waiting[0] ?? null;
  useEffect(() => show({ at: pointer.current, drawing: shownDraft }), [JSON.stringify(shownDraft)]);
  useEffect(() => setSent((before) => stillWaiting(before, shapes)), [shapes]);
  useEffect(() => {
    if (!waiting.length) return;
    const timer = setTimeout(() => setSent({}), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [sent]);
  useEffect(() => {
    if (shapes.length && !press.current) reveal(paper.current);
  }, [shapes.length > 0]);
  useKeys(setTool, editing);

  function send(action, shape) {
    if (shape) setSent((before) => ({ ...before, [shape.id]: shape }));
    onAction(action);
  }

  function erase(id) {
    if (find(shapes, id)) send({ type: "erase", id });
  }

  function place(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(
      svg.current.getScreenCTM().inverse(),
    );
    return [clamp(Math.round(point.x), WIDTH), clamp(Math.round(point.y), HEIGHT)];
  }

  function onPointerDown(event) {
    if (event.button !== 0 || editing) return;
    const [x, y] = place(event);
    const touched = find(shapes, idAt(event));
    if (tool === "hand" && !touched) return;
    svg.current.setPointerCapture(event.pointerId);
    press.current = { tool, touched, x, y };
    const base = { id: newId(), color, x, y };
    if (tool === "stroke") setDraft({ ...base, kind: "stroke", points: [0, 0] });
    if (tool === "box") setDraft({ ...base, kind: "box", width: 0, height: 0 });
    if (tool === "eraser" && touched) erase(touched.id);
  }

  function onPointerMove(event) {
    const at = place(event);
    pointer.current = at;
    const now = press.current;
    const next = now && nextDraft(now, event, at);
    if (next) setDraft(next);
    if (now?.tool === "eraser" && idAt(event)) erase(idAt(event));
    show({ at, drawing: next || shownDraft });
  }

  function nextDraft(now, event, [x, y]) {
    if (now.tool === "hand") return { ...now.touched, x: now.touched.x + x - now.x, y: now.touched.y + y - now.y };
    if (now.tool === "box" && draft) return { ...draft, ...cornersOf(now, x, y) };
    if (now.tool !== "stroke" || !draft) return null;
    const moves = event.nativeEvent.getCoalescedEvents?.() ?? [];
    const points = (moves.length ? moves : [event]).reduce(
      (line, move) => longer(line, draft, place(move)),
      draft.points,
    );
    if (points.length < 2 * MAX_POINTS) return { ...draft, points };
    finish({ ...draft, points });
    return { ...draft, id: newId(), x, y, points: [0, 0] };
  }

  function onPointerUp(event) {
    const now = press.current;
    press.current = null;
    if (!now) return;
    const [x, y] = place(event);
    if (now.tool === "note") return edit(now.touched?.kind === "note" ? now.touched : newNote(now));
    if (draft) finish(draft, now);
    setDraft(null);
    if (event.pointerType === "touch") leave();
  }

  function finish(shape, now) {
    if (now?.tool === "hand") {
      const [dx, dy] = [shape.x - now.touched.x, shape.y - now.touched.y];
      if (dx || dy) send({ type: "shift", id: shape.id, dx, dy }, shape);
    } else if (shape.kind !== "box" || (shape.width > STEP_PX && shape.height > STEP_PX)) {
      send({ type: "draw", shape }, shape);
    }
  }

  function newNote({ x, y }) {
    const [left, top] = [Math.min(x, WIDTH - NOTE_PX), Math.min(y, HEIGHT - NOTE_PX)];
    return { id: newId(), kind: "note", color: color === "ink" ? "amber" : color, x: left, y: top, text: "" };
  }

  function edit(note) {
    setEditing(note.id);
    setDraft(note);
  }

  function onWritten(text) {
    const note = { ...draft, text: text.trim() };
    setEditing(null);
    setDraft(null);
    const old = find(shapes, note.id);
    if (old && note.text !== old.text) send({ type: "write", id: note.id, text: note.text }, note);
    if (!old && note.text) send({ type: "draw", shape: note }, note);
  }

  function onDoubleClick(event) {
    const touched = find(shapes, idAt(event));
    if (tool === "hand" && touched?.kind === "note") edit(touched);
  }

  function leave() {
    if (press.current) return;
    pointer.current = null;
    show({ at: null, drawing: shownDraft });
  }

  const foreign = others.map((person) => person.drawing).filter(Boolean);
  const drafts = [...waiting, ...foreign, ...(draft ? [draft] : [])];
  const seen = [...shapes.filter((shape) => !find(drafts, shape.id)), ...unique(drafts)];
  return (
    <main className="board">
      <div className="paper" ref={paper}>
        <svg
          ref={svg}
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          className={`with-${tool}`}
          role="img"
          aria-label={`A whiteboard with ${shapes.length} shapes`}
          {...{ onPointerDown, onPointerMove, onPointerUp, onDoubleClick }}
          onPointerCancel={onPointerUp}
          onPointerLeave={leave}
        >
          {seen.map((shape) => shape.id !== editing && <Shape key={shape.id} shape={shape} />)}
          {editing && <Editor note={draft} onText={(text) => setDraft({ ...draft, text })} onDone={onWritten} />}
          {others.map((person) => person.at && <Cursor key={person.key} person={person} />)}
        </svg>
        {seen.length === 0 && <p className="hint">Draw something. Everyone at this address sees it.</p>}
      </div>
      <Toolbar {...{ tool, setTool, color, setColor }} />
    </main>
  );
}

// Calls a function with the newest value, at most once in so many milliseconds, and never drops the last one.
function useLatest(call, everyMs) {
  const state = useRef({ timer: null, value: null, last: 0, said: "" });
  state.current.call = call;
  return (value) => {
    const now = state.current;
    now.value = value;
    now.timer ??= setTimeout(
      () => {
        const said = JSON.stringify(now.value);
        Object.assign(now, { timer: null, last: performance.now() });
        if (said === now.said) return;
        now.said = said;
        now.call(now.value);
      },
      Math.max(0, now.last + everyMs - performance.now()),
    );
  };
}

// On a phone the board is wider than the screen: it begins where something is drawn.
function reveal(paper) {
  const view = paper.getBoundingClientRect();
  const drawn = [...paper.querySelectorAll("[data-shape]")];
  const boxes = drawn.map((shape) => shape.getBoundingClientRect());
  if (boxes.some((box) => box.left < view.right && box.right > view.left)) return;
  drawn.at(-1)?.scrollIntoView({ block: "nearest", inline: "center" });
}

function useKeys(setTool, editing) {
  useEffect(() => {
    function onKeyDown(event) {
      if (editing || event.target.matches("input, textarea")) return;
      const key = event.key.toLowerCase();
      const button = event.ctrlKey || event.metaKey ? buttonOfKey(key, event.shiftKey) : null;
      if (button) event.preventDefault();
      if (button) return button.click();
      const tool = !event.ctrlKey && !event.metaKey && !event.altKey && toolOfKey(key);
      if (tool) setTool(tool);
    }
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, [editing]);
}

function buttonOfKey(key, withShift) {
  if (key === "y" || (key === "z" && withShift)) return document.querySelector("#redo");
  return key === "z" ? document.querySelector("#undo") : null;
}

const newId = () => Math.random().toString(36).slice(2, 10) + Date.now().toString(36);
const clamp = (value, most) => Math.max(0, Math.min(most, value));
const find = (shapes, id) => shapes.find((shape) => shape.id === id);
const unique = (shapes) => [...new Map(shapes.map((shape) => [shape.id, shape])).values()];
const isSame = (a, b) => b && a.x === b.x && a.y === b.y && a.text === b.text;

function stillWaiting(sent, shapes) {
  const left = Object.entries(sent).filter(([id, shape]) => !isSame(shape, find(shapes, id)));
  return left.length === Object.keys(sent).length ? sent : Object.fromEntries(left);
}

// The shape under the pointer; a captured pointer has the board as its target, so that is asked by place.
const idAt = (event) =>
  document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-shape]")?.dataset.shape;

function cornersOf({ x, y }, toX, toY) {
  return { x: Math.min(x, toX), y: Math.min(y, toY), width: Math.abs(toX - x), height: Math.abs(toY - y) };
}

function longer(points, { x, y }, [toX, toY]) {
  const [dx, dy] = [toX - x, toY - y];
  const [lastX, lastY] = points.slice(-2);
  return Math.hypot(dx - lastX, dy - lastY) < STEP_PX ? points : [...points, dx, dy];
}
