/** What rules would have told of the last hour: asked anew as they change, and the last answer alone is shown. */

import { post, sentence } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { clock, duration, number } from "../parts/format.js";
import { rules as said } from "./rule-strings.js";

const PAUSE_MS = 700;
const LISTED = 50;
const BUSY = 429;
const AGAIN_MS = 3000;

export class Trial {
  #asked = 0;
  #asking = new AbortController();

  /** @param {string} camera @param {(time: string) => void} look */
  constructor(camera, look) {
    this.camera = camera;
    this.look = look;
    this.said = h("p", { role: "status" });
    this.list = h("ul", { class: "stack small told" });
    this.element = h("section", { class: "stack", "aria-label": said.preview }, h("h2", {}, said.preview), this.said, this.list);
  }

  end() {
    clearTimeout(this.#asked);
    this.#asking.abort();
  }

  /** @param {any} rules without mistakes */
  ask(rules, pause = PAUSE_MS) {
    this.end();
    this.#asking = new AbortController();
    this.#asked = setTimeout(() => void this.#ask(rules), pause);
  }

  /** @param {any} rules */
  async #ask(rules) {
    const { signal } = this.#asking;
    this.said.textContent = said.previewing;
    try {
      const found = await post(`cameras/${this.camera}/rules/preview`, { rules }, signal);
      if (!signal.aborted) this.#show(found);
    } catch (error) {
      if (signal.aborted) return;
      if (/** @type {any} */ (error).status === BUSY) return this.ask(rules, AGAIN_MS);
      this.said.textContent = said.notReached(sentence(error));
      fill(this.list);
    }
  }

  /** @param {any} found */
  #show(found) {
    const shown = found.incidents.slice(0, LISTED);
    this.said.textContent = found.total ? said.told(found.total) : found.segments ? said.nothing : said.nothingSeen;
    fill(this.list, ...shown.map((/** @type {any} */ one) => this.#incident(one)),
      found.total > shown.length ? h("li", { class: "muted" }, said.most(shown.length)) : null);
  }

  /** @param {any} one */
  #incident(one) {
    const lasted = one.end ? duration((Date.parse(one.end) - Date.parse(one.start)) / 1000) : said.lasts;
    const about = [one.labels.join(", "), one.zone ?? one.line, one.direction, one.value === null ? "" : number(one.value, 2), lasted];
    return h("li", {}, h("button", { type: "button", class: "plain", "aria-label": said.showIt(clock(one.time)), onclick: () => this.look(one.time) }, clock(one.start)),
      " ", h("strong", {}, one.rule), " ", h("span", { class: "muted" }, about.filter(Boolean).join(" · ")));
  }
}
