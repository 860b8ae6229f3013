/** One request under way: what it waits for, and each camera's answer as it comes. */

import { errorText, request } from "../api.js";
import { h } from "../parts/dom.js";
import { duration } from "../parts/format.js";
import { card } from "./answer.js";
import { events } from "./stream.js";
import { strings } from "./strings.js";

/** @typedef {import("./form.js").Question} Question */

const WAIT_S = 300;

export class PendingQuestion {
  #ended = new AbortController();

  /** @param {Question} question @param {(job: string) => void} onAnswer is called with each job that has been answered */
  constructor(question, onAnswer) {
    this.question = question;
    this.#onAnswer = onAnswer;
    this.state = h("p", { class: "small muted", role: "status" });
    this.answers = h("div", { class: "stack" });
    this.stop = h("button", { type: "button", onclick: () => this.#cancel() }, strings.cancel);
    this.element = h("section", { class: "card stack", "aria-label": question.text || strings.summaryOf },
      h("div", { class: "head" }, h("h3", {}, question.text || strings.summaryOf), this.stop),
      h("p", { class: "small muted" }, question.cameras.join(", ")), this.answers, this.state);
  }

  #onAnswer;

  async run() {
    const { kind, text, cameras, since, until } = this.question;
    const own = kind === "ask" ? { question: text } : { prompt: text };
    /** @type {Record<string, any>} */
    const body = { cameras, wait_s: WAIT_S, ...own };
    if (since) body["since"] = since;
    if (until) body["until"] = until;
    let complete = false;
    try {
      for await (const { name, data } of events(await request("POST", kind, { body, signal: this.#ended.signal }))) {
        if (name === "waiting") this.state.textContent = strings.waiting(duration(Math.round(data.waited_s)), data.jobs, data.ready, data.loading);
        else if (name === "answer") this.#answer(data);
        else if (name === "error") this.#failed(data.camera, data.error);
        else if (name === "done") complete = true;
      }
      this.state.textContent = complete ? "" : strings.lost;
    } catch (error) {
      this.state.textContent = "";
      if (this.#ended.signal.aborted) this.state.textContent = strings.cancelled;
      else this.#failed("", errorText(error));
    } finally {
      this.stop.remove();
    }
  }

  end() {
    this.#ended.abort();
  }

  /** @param {import("./answer.js").Answer} answer */
  #answer(answer) {
    this.answers.append(card(answer));
    this.#onAnswer(answer.job);
  }

  /** @param {string} camera @param {string} error */
  #failed(camera, error) {
    this.answers.append(h("p", { class: "bad", role: "alert" }, camera ? h("strong", {}, camera, ": ") : null, error));
  }

  #cancel() {
    this.end();
    // The button disappears: keep the keyboard's focus here.
    this.element.tabIndex = -1;
    this.element.focus();
  }
}
