/** The incidents that rules would have raised in the last hour, requested again after each change. */

import { errorText, post } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { clock, duration, number } from "../parts/format.js";
import { rules as texts } from "./rule-strings.js";

const PAUSE_MS = 700;
const LISTED = 50;
const BUSY = 429;
const AGAIN_MS = 3000;

export class RulePreview {
  #timer = 0;
  #request = new AbortController();

  /** @param {string} camera @param {(time: string) => void} onPick */
  constructor(camera, onPick) {
    this.camera = camera;
    this.onPick = onPick;
    this.status = h("p", { role: "status" });
    this.list = h("ul", { class: "stack small preview-incidents" });
    this.element = h("section", { class: "stack", "aria-label": texts.preview }, h("h2", {}, texts.preview), this.status, this.list);
  }

  end() {
    clearTimeout(this.#timer);
    this.#request.abort();
  }

  /** @param {any} rules without mistakes */
  ask(rules, pause = PAUSE_MS) {
    this.end();
    this.#request = new AbortController();
    this.#timer = setTimeout(() => void this.#ask(rules), pause);
  }

  /** @param {any} rules */
  async #ask(rules) {
    const { signal } = this.#request;
    this.status.textContent = texts.previewing;
    try {
      const reply = await post(`cameras/${this.camera}/rules/preview`, { rules }, signal);
      if (!signal.aborted) this.#show(reply);
    } catch (error) {
      if (signal.aborted) return;
      if (/** @type {any} */ (error).status === BUSY) return this.ask(rules, AGAIN_MS);
      this.status.textContent = texts.notReached(errorText(error));
      fill(this.list);
    }
  }

  /** @param {any} reply */
  #show(reply) {
    const shown = reply.incidents.slice(0, LISTED);
    this.status.textContent = reply.total ? texts.incidents(reply.total) : reply.segments ? texts.nothing : texts.nothingSeen;
    fill(this.list, ...shown.map((/** @type {any} */ one) => this.#incident(one)),
      reply.total > shown.length ? h("li", { class: "muted" }, texts.most(shown.length)) : null);
  }

  /** @param {any} one */
  #incident(one) {
    const lasted = one.end ? duration((Date.parse(one.end) - Date.parse(one.start)) / 1000) : texts.lasts;
    const about = [one.labels.join(", "), one.zone ?? one.line, one.direction, one.value === null ? "" : number(one.value, 2), lasted];
    return h("li", {}, h("button", { type: "button", class: "plain", "aria-label": texts.showIt(clock(one.time)), onclick: () => this.onPick(one.time) }, clock(one.start)),
      " ", h("strong", {}, one.rule), " ", h("span", { class: "muted" }, about.filter(Boolean).join(" · ")));
  }
}
