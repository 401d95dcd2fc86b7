// @ts-check
/** The protocol over `fetch`: requests out, typed answers or a `Refused` back. */

/** The server said no; `message` is what it said. */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message || `The server answered ${status}.`);
    this.status = status;
  }
}

/**
 * @typedef {object} Page
 * @property {Uint8Array} data
 * @property {string} next offset behind it
 * @property {boolean} upToDate
 * @property {boolean} closed
 * @property {string} contentType
 */

export class Client {
  /**
   * @param {string} root URL of the stream root
   * @param {() => string} token of the visitor, empty if none
   * @param {() => void} onUnauthorized called when a token is asked for
   */
  constructor(root, token, onUnauthorized) {
    this.root = root;
    this.token = token;
    this.onUnauthorized = onUnauthorized;
  }

  /** @param {string} path percent-encoded, below the root */
  url(path) {
    return `${this.root}/${path}`;
  }

  /**
   * @param {string} path @param {string} offset @param {AbortSignal} [signal]
   * @returns {Promise<Page>}
   */
  async read(path, offset, signal) {
    const response = await this.send(`${this.url(path)}?offset=${encodeURIComponent(offset)}`, { signal });
    const { headers } = response;
    return {
      data: new Uint8Array(await response.arrayBuffer()),
      next: headers.get("stream-next-offset") ?? offset,
      upToDate: headers.get("stream-up-to-date") === "true",
      closed: headers.get("stream-closed") === "true",
      contentType: headers.get("content-type") ?? "",
    };
  }

  /** A live response of server-sent events. @param {string} path @param {string} offset @param {AbortSignal} signal */
  follow(path, offset, signal) {
    return this.send(`${this.url(path)}?offset=${encodeURIComponent(offset)}&live=sse`, { signal });
  }

  /** @param {string} path @returns {Promise<Headers>} */
  async head(path) {
    return (await this.send(this.url(path), { method: "HEAD" })).headers;
  }

  /** @param {string} path @param {Record<string, string>} headers @param {BodyInit} [body] */
  async create(path, headers, body) {
    return (await this.send(this.url(path), { method: "PUT", headers, body })).status === 201;
  }

  /** @param {string} path @param {string} contentType @param {BodyInit} body @param {Record<string, string>} [more] */
  append(path, contentType, body, more) {
    return this.send(this.url(path), { method: "POST", headers: { "Content-Type": contentType, ...more }, body });
  }

  /** @param {string} path */
  close(path) {
    return this.send(this.url(path), { method: "POST", headers: { "Stream-Closed": "true" } });
  }

  /** @param {string} path */
  remove(path) {
    return this.send(this.url(path), { method: "DELETE" });
  }

  /** JSON from one of the inspector's own routes. @param {string} route @param {any} [body] */
  async api(route, body) {
    const init = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    return (await this.send(`api/${route}`, init)).json();
  }

  /** @param {string} url @param {RequestInit} [init] @returns {Promise<Response>} */
  async send(url, init = {}) {
    const headers = new Headers(init.headers);
    const token = this.token();
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const response = await fetch(url, { ...init, headers, cache: "no-store" });
    if (response.ok) return response;
    if (response.status === 401) this.onUnauthorized();
    throw new Refused(response.status, (await response.text()).trim());
  }
}

/** What to tell a person about a failure. @param {unknown} error */
export function explain(error) {
  if (error instanceof Refused) return error.message;
  if (error instanceof TypeError) return "The server cannot be reached.";
  return error instanceof Error ? error.message : String(error);
}
