/** The form: a question or a summary, its cameras and its time. */

import { h } from "../parts/dom.js";
import { iso } from "../parts/format.js";
import { mistakeLine } from "../parts/messages.js";
import { SpanField } from "../parts/timespan.js";
import { NameField, Tokens } from "../parts/tokens.js";
import { strings } from "./strings.js";

/** @typedef {{kind: "ask" | "summarize", text: string, cameras: string[], since: string, until: string}} Question */

const MOST_CAMERAS = 16;
const LAST = { ask: "60", summarize: "3600" };

export class Form {
  /** @type {"ask" | "summarize"} */
  #kind = "ask";
  /** @type {string[]} */
  cameras = [];

  /** @param {(question: Question) => void} ask */
  constructor(ask) {
    this.text = h("textarea", { name: "text", rows: 2, maxLength: 4000 });
    this.label = h("span", {});
    this.names = new NameField(strings.camera, strings.cameraHint, (name) => this.add(name));
    this.tokens = new Tokens(strings.chosen);
    this.span = new SpanField(strings.span, () => {});
    this.mistake = mistakeLine();
    this.go = h("button", { class: "primary" });
    this.element = h("form", { class: "card stack question-form", noValidate: true, "aria-label": strings.form },
      h("fieldset", { class: "row" }, h("legend", {}, strings.kind), ["ask", "summarize"].map((kind) => this.#choice(/** @type {any} */ (kind)))),
      h("label", { class: "field" }, this.label, this.text),
      h("div", { class: "filters" }, this.names.element, this.span.element),
      this.tokens.element, this.mistake,
      h("div", { class: "row" }, this.go, h("span", { class: "small muted" }, strings.cost)));
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#check()) ask(this.#question());
    });
    // A question is one line most of the time: Enter asks, and Shift with it begins another line.
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.element.requestSubmit();
    });
    this.kind("ask");
  }

  /** @param {URLSearchParams} query */
  prefill(query) {
    const kind = query.get("kind");
    if (kind === "summarize") this.kind(kind);
    for (const name of (query.get("camera") ?? "").split(",").filter(Boolean)) this.add(name);
    this.text.value = query.get("text") ?? "";
    const [since, until] = ["since", "until"].map((name) => query.get(name) ?? "");
    if (since || until) this.span.value = { last: "", since: since ?? "", until: until ?? "" };
  }

  /** @param {"ask" | "summarize"} kind */
  kind(kind) {
    const fresh = this.span.value.last === LAST[this.#kind];
    this.#kind = kind;
    const question = kind === "ask";
    this.label.textContent = question ? strings.question : strings.about;
    this.text.placeholder = question ? strings.questionHint : strings.aboutHint;
    this.go.textContent = strings.go[kind];
    if (fresh) this.span.value = { last: LAST[kind], since: "", until: "" };
    const radio = this.element.querySelector(`input[value=${kind}]`);
    if (radio instanceof HTMLInputElement) radio.checked = true;
  }

  /** @param {string} name */
  add(name) {
    if (!this.cameras.includes(name) && this.cameras.length < MOST_CAMERAS) this.cameras = [...this.cameras, name];
    this.#tokens();
  }

  #tokens() {
    this.mistake.textContent = "";
    this.tokens.show(this.cameras.map((name) => ({ text: name, remove: () => {
      this.cameras = this.cameras.filter((other) => other !== name);
      this.#tokens();
    } })));
  }

  /** @param {"ask" | "summarize"} kind */
  #choice(kind) {
    return h("label", { class: "row" }, h("input", { type: "radio", name: "kind", value: kind, onchange: () => this.kind(kind) }), strings.kinds[kind]);
  }

  #check() {
    const wrong = !this.cameras.length ? strings.noCamera : this.#kind === "ask" && !this.text.value.trim() ? strings.noQuestion : "";
    this.mistake.textContent = wrong;
    if (wrong) (this.cameras.length ? this.text : this.names.input).focus();
    return !wrong;
  }

  /** @returns {Question} */
  #question() {
    const { last, since, until } = this.span.value;
    const now = Date.now();
    return {
      kind: this.#kind, text: this.text.value.trim(), cameras: this.cameras,
      since: last ? iso(now - Number(last) * 1000) : since, until: last ? iso(now) : until,
    };
  }
}
