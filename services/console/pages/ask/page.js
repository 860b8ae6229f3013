/** Ask: a question about what cameras see, or a summary of it; and what was answered in the last day. */

import { get, hear, sentence } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { toast } from "../parts/toast.js";
import { Asking } from "./asking.js";
import { Form } from "./form.js";
import { strings } from "./strings.js";
import { card } from "./told.js";

/** @typedef {import("./told.js").Told} Told */

const SOON_MS = 1200;
const MOST = 100;

class Ask {
  #ended = new AbortController();
  /** @type {Set<Asking>} */
  #under = new Set();
  /** Jobs whose answers are shown above already. @type {Set<string>} */
  #own = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Cards by job, so that pictures are asked for once. @type {Map<string, HTMLElement>} */
  #cards = new Map();

  /** @param {boolean} may ask */
  constructor(may) {
    this.may = may;
    this.form = new Form((asked) => void this.#ask(asked));
    this.now = h("div", { class: "stack", "aria-label": strings.asked, role: "region", hidden: true });
    this.recent = h("div", { class: "stack" });
  }

  /** @param {HTMLElement} main @param {URLSearchParams} query */
  begin(main, query) {
    fill(main, h("h1", {}, strings.title), this.may ? this.form.element : h("p", { class: "muted" }, strings.viewer), this.now,
      h("h2", {}, strings.recent), this.recent);
    this.form.prefill(query);
    if (this.may) void this.#know();
    void this.#refresh();
    const deaf = hear({ kinds: ["answers", "summaries"] }, () => this.#soon());
    return () => {
      this.#ended.abort();
      clearTimeout(this.#timer);
      deaf();
      for (const asking of this.#under) asking.end();
    };
  }

  async #know() {
    const { cameras } = await get("cameras", {}, this.#ended.signal).catch(() => ({ cameras: [] }));
    const ids = cameras.map((/** @type {any} */ camera) => camera.id);
    this.form.names.know(ids);
    if (ids.length === 1 && !this.form.cameras.length) this.form.add(ids[0]);
  }

  /** @param {import("./form.js").Asked} asked */
  async #ask(asked) {
    const asking = new Asking(asked, (job) => this.#own.add(job));
    this.#under.add(asking);
    this.now.hidden = false;
    this.now.prepend(asking.element);
    await asking.run();
    this.#under.delete(asking);
  }

  // What was just told is in the log a moment later, and read there once a second.
  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#refresh();
    }, SOON_MS);
  }

  async #refresh() {
    try {
      const { answers } = await get("ask/recent", { limit: MOST }, this.#ended.signal);
      const known = this.#cards;
      const others = answers.filter((/** @type {Told} */ told) => !this.#own.has(told.job));
      this.#cards = new Map(others.map((/** @type {Told} */ told) => [told.job, known.get(told.job) ?? card(told, { asked: true })]));
      // What stays where it is keeps the focus.
      const cards = others.length ? [...this.#cards.values()] : [h("p", { class: "empty" }, strings.noRecent)];
      if (cards.some((one, n) => this.recent.children[n] !== one) || this.recent.children.length !== cards.length) fill(this.recent, cards);
    } catch (error) {
      const text = sentence(error);
      if (text && !this.#ended.signal.aborted) toast(text, "bad");
    }
  }
}

/** @type {import("../shell.js").Show} */
export async function show(main, route, shell) {
  return new Ask(shell.may("operator")).begin(main, route.query);
}
