/** What each camera delivers, those to look at first. */

import { arrange, fill, h } from "../parts/dom.js";
import { number, percent, size } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { to } from "../router.js";
import { strings } from "./strings.js";

const texts = strings.cameras;
const FEW = 12;
/** @type {Record<string, string>} */
const TONES = { online: "good", connecting: "warn", unreadable: "bad", offline: "bad", disabled: "" };

export class Cameras {
  constructor() {
    this.all = false;
    this.count = h("span", { class: "muted" });
    this.body = h("tbody");
    this.empty = emptyNote(texts.none);
    this.show_ = h("button", { type: "button", onclick: () => this.#showAll() });
    this.rest = h("p", { class: "muted small" });
    const heads = [texts.camera, texts.state, texts.segments, texts.bytes, texts.leftOut, texts.reason];
    this.heads = heads;
    this.table = h("table", { class: "cards" },
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), this.body);
    this.element = h("section", { class: "stack", "aria-labelledby": "cameras" },
      h("div", { class: "head" }, h("h2", { id: "cameras" }, texts.title), this.count), this.empty, this.table, this.show_, this.rest);
    /** @type {Map<string, {row: HTMLElement, cells: HTMLElement[]}>} */
    this.rows = new Map();
    /** @type {any} */
    this.now = null;
  }

  /** @param {any} now */
  show(now) {
    this.now = now;
    const { cameras } = now;
    const shown = this.all ? cameras : cameras.slice(0, FEW);
    this.empty.hidden = cameras.length > 0;
    this.table.hidden = !cameras.length;
    this.count.textContent = cameras.length ? texts.online(now.online, cameras.length + now.cameras_more) : "";
    this.show_.hidden = this.all || cameras.length <= FEW;
    this.show_.textContent = texts.all(cameras.length);
    this.rest.hidden = !now.cameras_more;
    this.rest.textContent = texts.more(now.cameras_more);
    arrange(this.body, shown.map((/** @type {any} */ camera) => this.#row(camera)));
    for (const id of [...this.rows.keys()]) if (!shown.some((/** @type {any} */ camera) => camera.id === id)) this.rows.delete(id);
  }

  #showAll() {
    this.all = true;
    this.show(this.now);
    /** @type {HTMLElement | null} */ (this.body.querySelector("a"))?.focus();
  }

  /** @param {any} camera */
  #row(camera) {
    let entry = this.rows.get(camera.id);
    if (!entry) {
      const cells = this.heads.map((head) => h("td", { dataset: { label: head } }));
      fill(/** @type {Element} */ (cells[0]), h("a", { href: to("cameras", [camera.id]) }, camera.id));
      entry = { row: h("tr", {}, cells), cells };
      this.rows.set(camera.id, entry);
    }
    const [, state, ...others] = entry.cells;
    fill(/** @type {Element} */ (state), h("span", { class: `dot ${TONES[camera.state] ?? ""}` }), " ", texts.states[camera.state] ?? camera.state);
    const delivers = camera.segments > 0.005;
    const values = [
      delivers ? strings.services.perSecond(number(camera.segments)) : "–", delivers ? `${size(camera.bytes)}/s` : "–",
      delivers ? percent(camera.left_out) : "–", camera.reason || (camera.lost ? strings.attention.lost(camera.id, camera.lost, camera.lost_because) : ""),
    ];
    others.forEach((cell, i) => (cell.textContent = values[i] ?? ""));
    return entry.row;
  }
}
