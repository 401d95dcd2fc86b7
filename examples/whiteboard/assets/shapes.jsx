// How shapes and pointers look. Colours are classes; whiteboard.css knows them, for light and for dark.

import React, { useEffect, useRef } from "react";

const NOTE_PX = 200;

export function Shape({ shape }) {
  const { id, kind, color, x, y } = shape;
  return (
    <g data-shape={id} className={`shape ${kind} ${color}`} transform={`translate(${x} ${y})`}>
      {kind === "stroke" && <Stroke points={shape.points} />}
      {kind === "box" && <rect width={shape.width} height={shape.height} rx="10" />}
      {kind === "note" && <Note text={shape.text} />}
    </g>
  );
}

function Stroke({ points }) {
  const path = pathOf(points);
  return (
    <>
      <path d={path} className="reach" />
      <path d={path} className="line" />
    </>
  );
}

function Note({ text }) {
  return (
    <foreignObject width={NOTE_PX} height={NOTE_PX}>
      <div className="paper-note">{text}</div>
    </foreignObject>
  );
}

export function Editor({ note, onText, onDone }) {
  const field = useRef(null);
  useEffect(() => {
    field.current.focus();
    field.current.setSelectionRange(note.text.length, note.text.length);
  }, []);
  const onKeyDown = (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) event.target.blur();
  };
  return (
    <g className={`shape note ${note.color}`} transform={`translate(${note.x} ${note.y})`}>
      <foreignObject width={NOTE_PX} height={NOTE_PX}>
        <textarea
          ref={field}
          className="paper-note"
          value={note.text}
          maxLength={280}
          aria-label="Text of the note"
          onChange={(event) => onText(event.target.value)}
          onBlur={(event) => onDone(event.target.value)}
          onKeyDown={onKeyDown}
        />
      </foreignObject>
    </g>
  );
}

export function Cursor({ person }) {
  const [x, y] = person.at;
  return (
    <g className={`cursor ${person.color}`} style={{ transform: `translate(${x}px, ${y}px)` }}>
      <path d="M0 0 L8 26 L13.5 15.5 L25 12 Z" />
      <foreignObject x="18" y="22" width="260" height="40">
        <span>{person.name}</span>
      </foreignObject>
    </g>
  );
}

// A smooth line: its bends are the points, and it passes through the middle between each two of them.
function pathOf(points) {
  let path = `M${points[0]} ${points[1]}`;
  for (let at = 2; at + 3 < points.length; at += 2) {
    const [x, y, nextX, nextY] = points.slice(at, at + 4);
    path += `Q${x} ${y} ${(x + nextX) / 2} ${(y + nextY) / 2}`;
  }
  const [x, y] = points.slice(-2);
  return `${path}L${x} ${y}`;
}
