// A list whose rows can be dragged by a handle: with a mouse, a finger, or arrow keys. It only says which row
// shall stand before which; the order itself is the page's, and comes back as new children.
//
// A row is an element with `data-id`; what is inside it with the class `grip` is the handle. Nothing is measured
// ahead, so rows that others add, remove or move during a drag do no harm.

import React, { useEffect, useRef, useState } from "react";

const EDGE_PX = 60; // so near to an edge of the window, dragging scrolls it
const PATIENCE_MS = 3000; // to wait for the new order before the row is shown where it was

export function Sortable({ children, onPlace, ...props }) {
  const list = useRef(null);
  const drag = useRef(null);
  const moved = useRef(null); // the row that arrow keys have moved
  const [said, say] = useState("");

  const rows = () => [...list.current.children].filter((row) => row.dataset.id);
  const place = (row, before) => onPlace(row.dataset.id, before?.dataset.id ?? "");

  function settle() {
    clearTimeout(drag.current?.timer);
    drag.current = null;
    delete list.current.dataset.dragging;
    for (const row of rows()) {
      row.style.transform = "";
      delete row.dataset.dragged;
    }
  }

  function show() {
    const { row, y, grabbed } = drag.current;
    if (!row.isConnected) return settle();
    drag.current.before = shift(rows(), row, y - list.current.getBoundingClientRect().top - grabbed);
  }

  function scroll() {
    const { y, isDropped } = drag.current ?? { isDropped: true };
    if (isDropped) return;
    const past = Math.min(y - EDGE_PX, 0) + Math.max(y + EDGE_PX - window.innerHeight, 0);
    if (past) window.scrollBy(0, past / 5);
    if (past) show();
    requestAnimationFrame(scroll);
  }

  function onPointerDown(event) {
    const grip = event.target.closest(".grip");
    if (!grip || event.button !== 0 || drag.current) return;
    const row = grip.closest("[data-id]");
    list.current.setPointerCapture(event.pointerId); // not the grip's, which may be put elsewhere meanwhile
    drag.current = { row, y: event.clientY, grabbed: event.clientY - row.getBoundingClientRect().top };
    row.dataset.dragged = "true";
    list.current.dataset.dragging = "true";
    scroll();
  }

  function onPointerMove(event) {
    if (!drag.current || drag.current.isDropped) return;
    drag.current.y = event.clientY;
    show();
  }

  function onPointerUp() {
    if (!drag.current || drag.current.isDropped) return;
    const { row, before } = drag.current;
    if (before === undefined || before === following(rows(), row)) return settle();
    Object.assign(drag.current, { isDropped: true, timer: setTimeout(settle, PATIENCE_MS) });
    row.style.transform = `translateY(${distance(rows(), row, before)}px)`;
    delete row.dataset.dragged;
    place(row, before);
  }

  function onKeyDown(event) {
    if (event.key === "Escape" && drag.current) return settle();
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const row = event.target.closest("[data-id]");
    if (!by || !row || !(event.altKey || event.target.closest(".grip"))) return;
    event.preventDefault();
    const others = rows();
    const target = others.indexOf(row) + by;
    if (target < 0 || target >= others.length) return;
    moved.current = { id: row.dataset.id, focused: event.target };
    place(row, others[target + (by > 0)]);
  }

  function onReorder() {
    const now = rows();
    if (drag.current?.isDropped) settle();
    else if (drag.current) show();
    const index = now.findIndex((row) => row.dataset.id === moved.current?.id);
    if (index < 0) return;
    moved.current.focused.focus(); // a browser takes the focus from what is put elsewhere
    say(`Place ${index + 1} of ${now.length}`);
    moved.current = null;
  }

  // The rows are drawn by components of their own, so this one is not told of a new order.
  useEffect(() => {
    const observer = new MutationObserver(onReorder);
    observer.observe(list.current, { childList: true });
    return () => {
      observer.disconnect();
      clearTimeout(drag.current?.timer);
    };
  }, []);

  const handlers = { onPointerDown, onPointerMove, onPointerUp, onPointerCancel: settle, onKeyDown };
  return (
    <div className="sortable">
      <ul ref={list} {...props} {...handlers}>
        {children}
      </ul>
      <div role="log" aria-live="polite" className="said">
        {said}
      </div>
    </div>
  );
}

function following(rows, row) {
  return rows[rows.indexOf(row) + 1] ?? null;
}

// Move the dragged row to `top` and the others out of its way; returns before which one it is now, or null.
function shift(rows, dragged, top) {
  const height = dragged.offsetHeight;
  const index = rows.indexOf(dragged);
  let before = null;
  for (const [at, row] of rows.entries()) {
    if (row === dragged) continue;
    const middle = row.offsetTop + row.offsetHeight / 2;
    const isBehind = at < index ? top < middle : top + height < middle;
    if (isBehind) before ??= row;
    const offset = isBehind && at < index ? height : !isBehind && at > index ? -height : 0;
    row.style.transform = offset ? `translateY(${offset}px)` : "";
  }
  dragged.style.transform = `translateY(${top - dragged.offsetTop}px)`;
  return before;
}

// How far a row has to go from where it is to stand before another one, or at the end.
function distance(rows, row, before) {
  const end = rows.at(-1);
  const target = before ? before.offsetTop : end.offsetTop + end.offsetHeight;
  return target > row.offsetTop ? target - row.offsetTop - row.offsetHeight : target - row.offsetTop;
}
