// @ts-check
/**
 * Offsets of single messages. The protocol's offsets are opaque; this page comes with the server, so it may
 * know their form, `<origin>_<position>`: bytes of the stored form (each JSON message and one comma), and the
 * stream that the bytes before it were appended to. See `protocol/offsets.py`.
 */

const WIDTH = 16;

/** Where a token points to, or null if it is of no such form. @param {string} token */
export function positionOf(token) {
  const match = /^\d{16}_(\d{16})$/.exec(token);
  return match ? Number(match[1]) : null;
}

/** Tokens of one stream, a fork's inherited part included. */
export class OffsetMap {
  /** @param {{origin: number, until: number}[]} segments oldest first, the stream's own last */
  constructor(segments) {
    this.segments = segments;
  }

  /** @param {number} position */
  token(position) {
    const owner = this.segments.find((one) => position <= one.until) ?? this.segments[this.segments.length - 1];
    return `${String(owner.origin).padStart(WIDTH, "0")}_${String(position).padStart(WIDTH, "0")}`;
  }
}
