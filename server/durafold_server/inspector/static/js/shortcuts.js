// @ts-check
/** One table of keys, which the help shows too. Keys do nothing while somebody types, but for Escape. */

/** @typedef {{keys: string[], what: string, run(): boolean | void}} Shortcut `run` says false if it was not meant */

export class Shortcuts {
  constructor() {
    /** @type {Map<string, Shortcut[]>} */
    this.groups = new Map();
    addEventListener("keydown", (event) => this.pressed(event));
  }

  /** @param {string} group @param {Shortcut[]} shortcuts */
  set(group, shortcuts) {
    this.groups.set(group, shortcuts);
  }

  /** @param {string} group */
  clear(group) {
    this.groups.delete(group);
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest("dialog[open]")) return;
    if (target.matches("input:not([type=range]), textarea, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    for (const shortcuts of [...this.groups.values()].reverse()) {
      const found = shortcuts.find((one) => one.keys.includes(event.key));
      if (found && found.run() !== false) return event.preventDefault();
    }
  }
}
