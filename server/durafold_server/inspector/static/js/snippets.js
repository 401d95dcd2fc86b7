// @ts-check
/** What the page does, as a command or a program: for a shell, for the command line, for Python. */

/** @param {string} text */
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** @param {string} text */
const python = (text) => JSON.stringify(text);

/** @typedef {{url: string, offset: string, contentType: string, token: boolean}} What */

/** @param {What} what */
export function asCurl({ url, offset, token }) {
  const auth = token ? ' -H "Authorization: Bearer $TOKEN"' : "";
  return `curl -N${auth} ${shell(`${url}?offset=${encodeURIComponent(offset)}&live=sse`)}`;
}

/** @param {What} what */
export function asCommand({ url, offset, token }) {
  const auth = token ? ' --token "$TOKEN"' : "";
  return `durafold read ${shell(url)} --offset ${shell(offset)} --live auto${auth}`;
}

/** @param {What} what */
export function asPython({ url, offset, contentType, token }) {
  const auth = token ? ', headers={"Authorization": f"Bearer {token}"}' : "";
  return [
    "import asyncio",
    "",
    "from durafold import DurableStream",
    "",
    "",
    "async def main() -> None:",
    `    async with DurableStream(${python(url)}${auth}) as stream:`,
    `        async with stream.follow(${python(offset)}) as pages:`,
    "            async for page in pages:",
    `                print(${contentType.startsWith("application/json") ? "page.json()" : "page.data"})`,
    "",
    "",
    "asyncio.run(main())",
    "",
  ].join("\n");
}
