/** The console's playlists (RFC 8216): groups of pictures, when they were filmed, and where their bytes are. Pure. */

/**
 * since, until: in milliseconds since 1970. at: seconds at which it begins on the clock of what it is played below,
 * whose address is `head`. src: the address of its bytes.
 * @typedef {{since: number, until: number, at: number, head: string, src: string}} Group
 */

/** @param {string} text @param {string} address of the playlist @returns {Group[]} */
export function groups(text, address) {
  /** @type {Group[]} */
  const list = [];
  let head = "", at = 0, since = NaN, seconds = 0;
  for (const line of text.split("\n")) {
    const value = line.slice(line.indexOf(":") + 1);
    if (line.startsWith("#EXT-X-MAP:")) {
      // Another head restarts the clock.
      head = new URL(/URI="([^"]*)"/.exec(value)?.[1] ?? "", address).href;
      at = 0;
    } else if (line.startsWith("#EXT-X-PROGRAM-DATE-TIME:")) since = Date.parse(value);
    else if (line.startsWith("#EXTINF:")) seconds = Number.parseFloat(value);
    else if (line && !line.startsWith("#")) {
      list.push({ since, until: since + seconds * 1000, at, head, src: new URL(line, address).href });
      since += seconds * 1000;
      at += seconds;
    }
  }
  return list;
}
