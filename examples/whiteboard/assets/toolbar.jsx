// What to draw with. Nobody else needs to know, so nothing of this leaves the window.

import React from "react";

const TOOLS = [
  ["stroke", "Pen", "p", "M12 20h9M16.4 3.6a2 2 0 0 1 2.9 2.9L7.5 18.3 3 19.5l1.2-4.5Z"],
  ["box", "Rectangle", "r", "M4 5h16v14H4Z"],
  ["note", "Note", "n", "M4 4h16v10l-6 6H4ZM14 20v-6h6"],
  ["hand", "Move", "v", "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3"],
  ["eraser", "Eraser", "e", "M8 20 3.6 15.6a2 2 0 0 1 0-2.8l9-9a2 2 0 0 1 2.8 0l5 5a2 2 0 0 1 0 2.8L12 20ZM7 11l7 7M8 20h13"],
];
const COLORS = ["ink", "red", "amber", "green", "blue", "violet"];

export const toolOfKey = (key) => TOOLS.find(([, , letter]) => letter === key)?.[0];

export function Toolbar({ tool, setTool, color, setColor }) {
  return (
    <div className="toolbar" role="toolbar" aria-label="What to draw with">
      {TOOLS.map(([name, label, key, path]) => (
        <button
          key={name}
          type="button"
          title={`${label} (${key.toUpperCase()})`}
          aria-label={label}
          aria-pressed={tool === name}
          onClick={() => setTool(name)}
        >
          <svg viewBox="0 0 24 24" aria-hidden="true">
            <path d={path} />
          </svg>
        </button>
      ))}
      <span className="divider" />
      {COLORS.map((name) => (
        <button
          key={name}
          type="button"
          className={`color ${name}`}
          aria-label={name}
          aria-pressed={color === name}
          onClick={() => setColor(name)}
        />
      ))}
    </div>
  );
}
