/** Ask: a question about what cameras see, or a summary of it; and what was answered in the last day. */

import { get, subscribe } from "../api.js";
import { cameraIds } from "../parts/cameras.js";
import { arrange, fill, h } from "../parts/dom.js";
import { emptyNote } from "../parts/messages.js";
import { toastError } from "../parts/toast.js";
import { card } from "./answer.js";
import { Form } from "./form.js";
import { PendingQuestion } from "./pending.js";
import { strings } from "./strings.js";

/** @typedef {import("./answer.js").Answer} Answer */

const SOON_MS = 1200;
const MOST = 100;

class Ask {
  #ended = new AbortController();
  /** @type {Set<PendingQuestion>} */
  #pending = new Set();
  /** Jobs whose answers are shown above already. @type {Set<string>} */
  #own = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Cards by job, so that each picture is requested once. @type {Map<string, HTMLElement>} */
  #cards = new Map();

  /** @param {boolean} may ask */
  constructor(may) {
    this.may = may;
    this.form = new Form((question) => void this.#ask(question));
    this.now = h("div", { class: "stack", "aria-label": strings.current, role: "region", hidden: true });
    this.recent = h("div", { class: "stack" });
  }

  /** @param {HTMLElement} main @param {URLSearchParams} query */
  begin(main, query) {
    fill(main, h("h1", {}, strings.title), this.may ? this.form.element : h("p", { class: "muted" }, strings.viewer), this.now,
      h("h2", {}, strings.recent), this.recent);
    this.form.prefill(query);
    if (this.may) void this.#loadCameras();
    void this.#refresh();
    const unsubscribe = subscribe({ kinds: ["answers", "summaries"] }, () => this.#soon());
    return () => {
      this.#ended.abort();
      clearTimeout(this.#timer);
      unsubscribe();
      for (const pending of this.#pending) pending.end();
    };
  }

  async #loadCameras() {
    const ids = await cameraIds(this.#ended.signal).catch(() => []);
    this.form.names.suggest(ids);
    if (ids.length === 1 && !this.form.cameras.length) this.form.add(ids[0] ?? "");
  }

  /** @param {import("./form.js").Question} question */
  async #ask(question) {
    const pending = new PendingQuestion(question, (job) => this.#own.add(job));
    this.#pending.add(pending);
    this.now.hidden = false;
    this.now.prepend(pending.element);
    await pending.run();
    this.#pending.delete(pending);
  }

  // The console reads new answers from the log once a second.
  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#refresh();
    }, SOON_MS);
  }

  async #refresh() {
    try {
      const { answers } = await get("ask/recent", { limit: MOST }, this.#ended.signal);
      const previous = this.#cards;
      const others = answers.filter((/** @type {Answer} */ answer) => !this.#own.has(answer.job));
      this.#cards = new Map(others.map((/** @type {Answer} */ answer) => [answer.job, previous.get(answer.job) ?? card(answer, { withQuestion: true })]));
      const cards = others.length ? [...this.#cards.values()] : [emptyNote(strings.noRecent)];
      arrange(this.recent, cards);
    } catch (error) {
      toastError(error, this.#ended.signal);
    }
  }
}

/** @type {import("../shell.js").Show} */
export async function show(main, route, shell) {
  return new Ask(shell.may("operator")).begin(main, route.query);
}
