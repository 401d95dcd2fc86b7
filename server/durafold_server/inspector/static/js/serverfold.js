// @ts-check
/** The same questions as `Replay` answers, asked of the server, for reducers that are Python. */

/** @typedef {import("./replay.js").Step} Step */

export class ServerReplay {
  /**
   * @param {import("./client.js").Client} client
   * @param {string} path
   * @param {{name: string}} reducer
   * @param {(n: number) => string} offsetAfter offset behind the first `n` messages
   */
  constructor(client, path, reducer, offsetAfter) {
    this.client = client;
    this.path = path;
    this.reducer = reducer;
    this.offsetAfter = offsetAfter;
    /** @type {import("./replay.js").Fault[]} */
    this.faults = [];
    this.scanned = 0;
    this.disposed = false;
  }

  /** @param {number} n @returns {Promise<Step>} */
  async at(n) {
    const body = { stream: this.path, reducer: this.reducer.name, to: this.offsetAfter(n) };
    let folded = await this.client.api("fold", body);
    // A long log is folded in several requests, each of which goes on where the last one ended.
    while (!folded.complete && !this.disposed) folded = await this.client.api("fold", body);
    if (n >= this.scanned) {
      this.scanned = n;
      this.faults = folded.faults;
    }
    return {
      state: folded.state,
      before: folded.before,
      revision: folded.revision,
      verdict: folded.verdict,
      reason: folded.reason ?? "",
    };
  }

  /** @param {number} n */
  async scan(n) {
    await this.at(n);
  }

  dispose() {
    this.disposed = true;
  }
}
