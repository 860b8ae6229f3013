/** One dead letter, in a dialog: its headers and payload, as text or as a picture. */

import { get, url } from "../api.js";
import { openDialog } from "../parts/dialog.js";
import { h } from "../parts/dom.js";
import { figures } from "../parts/facts.js";
import { strings as shared } from "../strings.js";
import { strings } from "./strings.js";

/** @param {number} seq */
export async function showLetter(seq) {
  const reply = await get(`letters/${seq}`);
  const { letter } = reply;
  const close = h("button", { type: "button", onclick: () => dialog.close() }, shared.close);
  const dialog = openDialog(strings.letter(seq),
    h("p", {}, letter.reason),
    figures([
      [strings.of, `${letter.stream}/${letter.stream_seq}`], [strings.subject, letter.subject || "–"],
      [strings.service, letter.service], [strings.tries, String(letter.deliveries)]]),
    reply.is_video ? picture(seq) : null,
    Object.keys(reply.headers).length ? headers(reply.headers) : null,
    reply.text === null ? null : h("section", { class: "stack" }, h("h3", {}, strings.payload),
      h("pre", { tabIndex: 0 }, readable(reply.text)), reply.is_cut ? h("p", { class: "small muted" }, strings.cut) : null),
    close);
  dialog.classList.add("wide");
  close.focus();
}

/** @param {number} seq */
function picture(seq) {
  const image = h("img", { class: "letter", alt: strings.picture(seq), src: url(`letters/${seq}/picture`) });
  image.addEventListener("error", () => image.replaceWith(h("p", { class: "muted" }, strings.noPicture)));
  return image;
}

/** @param {Record<string, string>} values */
function headers(values) {
  return h("section", { class: "stack" }, h("h3", {}, strings.headers),
    h("pre", { tabIndex: 0 }, Object.entries(values).map(([name, value]) => `${name}: ${value}`).join("\n")));
}

/** JSON with its lines; anything else as it is. @param {string} text */
function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
