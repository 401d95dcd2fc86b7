// @ts-check
/** Server-sent events from a `fetch` body: EventSource cannot send an Authorization header. */

/** Lines in, events out; no network. */
export class EventParser {
  constructor() {
    this.rest = "";
    this.event = "";
    /** @type {string[]} */
    this.data = [];
  }

  /**
   * @param {string} text what has arrived
   * @returns {{event: string, data: string}[]} events that are complete now
   */
  feed(text) {
    const events = [];
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      const found = this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (found) events.push(found);
    }
    return events;
  }

  /** @param {string} line */
  line(line) {
    if (line === "") {
      const found = this.data.length ? { event: this.event || "message", data: this.data.join("\n") } : null;
      this.event = "";
      this.data = [];
      return found;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    else if (field === "data") this.data.push(value);
    return null;
  }
}

/** @param {Response} response @returns {AsyncGenerator<{event: string, data: string}>} */
export async function* events(response) {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield* parser.feed(decoder.decode(value, { stream: true }));
  }
}
