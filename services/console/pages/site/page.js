/** Site: what runs as one file; for admins, the changes that another file makes. */

import { get } from "../api.js";
import { copy } from "../parts/copy.js";
import { fill, h } from "../parts/dom.js";
import { saveFile } from "../parts/download.js";
import { SiteEditor } from "./editor.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").SiteFile} SiteFile */

const NAME = "site.yaml";

/** @type {import("../shell.js").Show} */
export async function show(main, _route, shell) {
  const file = /** @type {SiteFile} */ (await get("site"));
  const intro = h("div", { class: "stack site-intro" }, h("h1", {}, strings.title), h("p", { class: "muted" }, strings.help, " ", strings.readers),
    file.notices.map((notice) => h("p", { class: "warn" }, notice)));
  if (!shell.may("admin")) {
    fill(main, intro, reading(file.text));
    return;
  }
  const editor = new SiteEditor(file, save);
  fill(main, intro, editor.element);
  return () => editor.end();
}

/** The file for people who may not change it. @param {string} text */
function reading(text) {
  const shown = h("pre", { class: "site-text", tabIndex: 0, "aria-label": strings.file }, text);
  return h("section", { class: "stack", "aria-label": strings.runs },
    h("div", { class: "head" }, h("h2", {}, strings.runs), h("div", { class: "row" },
      h("button", { type: "button", onclick: () => void copy(shown) }, strings.copy),
      h("button", { type: "button", onclick: () => save(text) }, strings.download))),
    shown, h("p", { class: "small muted" }, strings.needsAdmin));
}

/** @param {string} text */
function save(text) {
  saveFile(new Blob([text], { type: "application/yaml" }), NAME);
}
