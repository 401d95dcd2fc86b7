// @ts-check
/** Cutting a page of a JSON stream into messages, as bytes: what was stored is shown, not what was parsed. */

const [QUOTE, BACKSLASH, COMMA, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [34, 92, 44, 91, 93, 123, 125];

/**
 * Where the elements of a JSON array end: positions of the commas between them and of its closing bracket.
 * The server has checked that it is one. All of JSON's signs are ASCII, so bytes can be looked at one by one.
 * @param {Uint8Array} page `[…]`
 * @returns {number[]}
 */
export function elementEnds(page) {
  const ends = [];
  let depth = 0;
  for (let i = 0; i < page.length; i++) {
    const byte = page[i];
    if (byte === QUOTE) {
      for (i++; i < page.length && page[i] !== QUOTE; i++) if (page[i] === BACKSLASH) i++;
    } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
    else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
      depth--;
      if (depth === 0 && i > 1) ends.push(i);
    } else if (byte === COMMA && depth === 1) ends.push(i);
  }
  return ends;
}
