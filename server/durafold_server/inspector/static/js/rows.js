// @ts-check
/**
 * A list of any length of which only the visible rows exist. Browsers end elements at some ten million pixels,
 * so beyond that scrolling is geared down: a pixel then stands for more than a pixel of rows.
 */

import { h, onceAFrame } from "./dom.js";

const MAX_HEIGHT_PX = 8_000_000;
const SPARE_ROWS = 8;

export class Rows {
  /**
   * @param {{label: string, rowHeight: number, render(index: number): Element,
   *          onselect?(index: number): void, onscroll?(atEnd: boolean): void}} options
   */
  constructor(options) {
    this.options = options;
    this.rowHeight = options.rowHeight;
    this.count = 0;
    this.selected = -1;
    this.top = 0;
    /** @type {Map<number, HTMLElement>} */
    this.shown = new Map();
    this.id = `rows-${Math.random().toString(36).slice(2, 8)}`;
    this.canvas = h("div.rows-canvas", { role: "presentation" });
    this.element = h(
      "div.rows",
      { tabindex: "0", role: "listbox", "aria-label": options.label, onscroll: () => this.scrolled() },
      this.canvas,
    );
    this.draw = onceAFrame(() => this.drawNow());
    this.canvas.addEventListener("click", (/** @type {Event} */ event) => this.clicked(event));
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.element);
  }

  /** Rows that fit. */
  get fitting() {
    return Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight));
  }

  get height() {
    return Math.min(this.count * this.rowHeight, MAX_HEIGHT_PX);
  }

  /** Pixels of rows that a pixel of scrolling stands for. */
  get gear() {
    const scrollable = this.height - this.element.clientHeight;
    return scrollable > 0 ? (this.count * this.rowHeight - this.element.clientHeight) / scrollable : 1;
  }

  get atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    return scrollTop + clientHeight >= scrollHeight - this.rowHeight;
  }

  /** There are so many rows now; those that exist stay as they are. @param {number} count */
  grow(count) {
    this.count = count;
    this.canvas.style.height = `${this.height}px`;
    this.draw();
  }

  /** All rows are others now. @param {number} count */
  reset(count) {
    this.forget();
    this.grow(count);
  }

  /** Draw all rows anew. */
  refresh() {
    this.forget();
    this.draw();
  }

  forget() {
    for (const row of this.shown.values()) row.remove();
    this.shown.clear();
  }

  /** @param {number} index @param {"nearest" | "center"} [block] */
  reveal(index, block = "nearest") {
    const gear = this.gear;
    const top = (index * this.rowHeight) / gear;
    const { scrollTop, clientHeight } = this.element;
    const fits = top >= scrollTop && top + this.rowHeight <= scrollTop + clientHeight;
    if (block === "nearest" && fits) return;
    const room = block === "center" ? clientHeight / 2 : top < scrollTop ? 0 : clientHeight - this.rowHeight;
    this.element.scrollTop = top - room;
    this.draw();
  }

  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
    this.draw();
  }

  /** @param {number} index @param {"nearest" | "center"} [block] */
  select(index, block) {
    this.mark(this.selected, false);
    this.selected = index;
    this.mark(index, true);
    if (index >= 0) {
      this.reveal(index, block);
      this.element.setAttribute("aria-activedescendant", `${this.id}-${index}`);
    } else this.element.removeAttribute("aria-activedescendant");
  }

  /** @param {number} index @param {boolean} on */
  mark(index, on) {
    const row = this.shown.get(index);
    row?.classList.toggle("selected", on);
    row?.setAttribute("aria-selected", String(on));
  }

  /** @param {Event} event */
  clicked(event) {
    const row = /** @type {Element} */ (event.target).closest("[data-index]");
    if (row) this.options.onselect?.(Number(row.getAttribute("data-index")));
  }

  scrolled() {
    this.draw();
    this.options.onscroll?.(this.atEnd);
  }

  drawNow() {
    const { scrollTop, clientHeight } = this.element;
    const offset = scrollTop * this.gear;
    const first = Math.max(0, Math.floor(offset / this.rowHeight) - SPARE_ROWS);
    const last = Math.min(this.count, Math.ceil((offset + clientHeight) / this.rowHeight) + SPARE_ROWS);
    for (const [index, row] of this.shown) {
      if (index >= first && index < last) continue;
      row.remove();
      this.shown.delete(index);
    }
    const fresh = document.createDocumentFragment();
    for (let index = first; index < last; index++) {
      const row = this.shown.get(index) ?? this.make(index, fresh);
      row.style.transform = `translateY(${scrollTop + index * this.rowHeight - offset}px)`;
    }
    this.canvas.appendChild(fresh);
  }

  /** @param {number} index @param {DocumentFragment} into */
  make(index, into) {
    const row = /** @type {HTMLElement} */ (this.options.render(index));
    row.classList.add("row");
    row.id = `${this.id}-${index}`;
    row.dataset.index = String(index);
    row.setAttribute("role", "option");
    row.setAttribute("aria-setsize", String(this.count));
    row.setAttribute("aria-posinset", String(index + 1));
    this.shown.set(index, row);
    this.mark(index, index === this.selected);
    into.appendChild(row);
    return row;
  }

  dispose() {
    this.watch.disconnect();
  }
}
