/** A what-if that runs: its progress, its end, and the one that was left running. */

import { ApiError, errorText, get, post, remove } from "../api.js";
import { fill, h, setText } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { strings } from "./strings.js";

const texts = strings.job;
const POLL_MS = 500;
const NOT_FOUND = 404;

export class Job {
  /** @param {{started: () => void, done: (ended: any) => void}} events done: of null where it was ended */
  constructor(events) {
    this.events = events;
    this.element = h("div", { class: "stack", hidden: true });
    this.id = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.bar = h("progress", { max: 1, value: 0, "aria-label": texts.progress });
    this.doing = h("span", { class: "small muted", role: "status" });
    this.title = h("span", {});
    const end = h("button", { type: "button", onclick: () => void this.#cancel() }, texts.end);
    fill(this.element, h("div", { class: "card" }, h("div", { class: "head" }, this.title, end), this.bar, this.doing));
  }

  /** Raises ApiError. @param {any} request */
  async start(request) {
    this.#follow(await post("whatif", request));
  }

  /** Go on with the one that runs, or show the last that ended. */
  async resume() {
    const [last] = await get("whatif");
    if (!last || this.id) return;
    if (last.state === "runs") this.#follow(last);
    else if (last.state === "done") this.events.done(await get(`whatif/${last.id}`));
  }

  /** Stop polling; the job continues. */
  end() {
    clearTimeout(this.timer);
    this.id = "";
  }

  /** @param {any} job */
  #follow(job) {
    this.id = job.id;
    this.element.hidden = false;
    this.events.started();
    this.#show(job);
    this.#later(job.id);
  }

  /** @param {string} id */
  #later(id) {
    this.timer = setTimeout(() => void this.#poll(id), POLL_MS);
  }

  /** @param {string} id */
  async #poll(id) {
    try {
      const job = await get(`whatif/${id}`);
      if (id !== this.id) return;
      if (job.state !== "runs") return this.#finish(job);
      this.#show(job);
    } catch (error) {
      if (id !== this.id) return;
      if (error instanceof ApiError && error.status === NOT_FOUND) return this.#finish({ error: texts.lost, field: "" });
      this.doing.textContent = errorText(error);
    }
    this.#later(id);
  }

  /** @param {any} job */
  #show(job) {
    this.title.textContent = texts.of(job.service, clock(job.began));
    this.bar.value = job.progress;
    setText(this.doing, job.doing);
  }

  /** @param {any} job */
  #finish(job) {
    this.end();
    this.element.hidden = true;
    this.events.done(job);
  }

  async #cancel() {
    const id = this.id;
    await remove(`whatif/${id}`).catch(() => {});
    if (id === this.id) this.#finish(null);
  }
}
