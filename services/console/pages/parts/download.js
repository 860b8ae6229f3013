/** Files for the browser to save. */

import { h } from "./dom.js";

/** Save what an address answers with. @param {string} href @param {string} [name] empty: the answer's own */
export function download(href, name = "") {
  const link = h("a", { href, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
}

/** @param {Blob} blob @param {string} name */
export function saveFile(blob, name) {
  const address = URL.createObjectURL(blob);
  download(address, name);
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
