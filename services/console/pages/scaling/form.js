/** The what-if's form: defaults, and every mistake at its field. */

import { ApiError, errorText } from "../api.js";
import { h } from "../parts/dom.js";
import { mistakeLine } from "../parts/messages.js";
import { choice, Field, Mistake, NumberField } from "./fields.js";
import { strings } from "./strings.js";

const texts = strings.form;
const MOST_BYTES = 4 * 1024 * 1024;
const MOST_REPLICAS = 10_000;
const MOST_BUDGETS = 5;
/** The services that can be simulated, if no scaler lists them. */
const SERVICES = ["cv", "embed", "vlm"];

export class Form {
  /**
   * @param {any} now what the scalers say; null where one may not know
   * @param {(request: any) => Promise<void>} start
   */
  constructor(now, start) {
    this.start = start;
    const services = now ? now.services.map((/** @type {any} */ s) => s.service).filter((/** @type {string} */ s) => SERVICES.includes(s)) : SERVICES;
    this.service = choice("service", Object.fromEntries(services.map((/** @type {string} */ s) => [s, s])));
    const sources = now ? texts.sources : { csv: texts.sources.csv ?? "", made_up: texts.sources.made_up ?? "" };
    this.arrivals = choice("arrivals", sources);
    this.csv = new Field("csv", h("input", { type: "file", accept: ".csv,text/csv,text/plain" }), texts.csvHint);
    this.trace = choice("trace", texts.traces);
    this.numbers = numbers(now?.price ?? null);
    this.budgets = new Field("budgets", h("input", { value: "0, 0.005, 0.01, 0.015, 0.02", autocomplete: "off" }), texts.budgetsHint);
    this.policies = Object.entries(texts.policyNames).map(([value, text]) => ({ value, text, box: h("input", { type: "checkbox", checked: true }) }));
    this.general = mistakeLine();
    this.button = h("button", { class: "primary" }, texts.go);
    this.element = this.#element();
    this.#choose();
    this.arrivals.control.addEventListener("change", () => this.#choose());
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
  }

  /** @returns {Field[]} */
  get fields() {
    return [this.service, this.arrivals, this.csv, this.trace, ...Object.values(this.numbers), this.budgets];
  }

  /** Disable the button while a simulation runs: there is one at a time. @param {boolean} is */
  busy(is) {
    this.button.disabled = is;
  }

  /** Show a mistake, at its field if it names one. @param {string} text @param {string} [name] */
  mistake(text, name = "") {
    const field = this.fields.find((f) => f.name === name && !f.element.hidden);
    if (!field) {
      this.general.textContent = text;
      return;
    }
    field.showMistake(text);
    field.element.closest("details")?.setAttribute("open", "");
    field.control.focus();
  }

  #element() {
    const n = this.numbers;
    return h("form", { class: "card stack", noValidate: true },
      h("div", { class: "grid fields" }, this.service.element, this.arrivals.element, n.days.element, this.csv.element, this.trace.element,
        n.latency_target_s.element, n.cold_start_s.element, n.price.element),
      h("details", {}, h("summary", {}, texts.more), h("div", { class: "stack" },
        h("div", { class: "grid fields" }, n.service_rate.element, n.min_replicas.element, n.max_replicas.element, n.enough.element, this.budgets.element),
        h("fieldset", { class: "row" }, h("legend", {}, texts.policies), this.policies.map(({ box, text }) => h("label", { class: "row" }, box, text))))),
      this.general,
      h("div", { class: "row" }, this.button));
  }

  /** Show what belongs to the arrivals that are chosen. */
  #choose() {
    const chosen = this.arrivals.control.value;
    this.numbers.days.element.hidden = chosen !== "usage";
    this.csv.element.hidden = chosen !== "csv";
    this.trace.element.hidden = chosen !== "made_up";
    // For other arrivals no service rate is measured.
    const rate = this.numbers.service_rate.control;
    /** @type {HTMLInputElement} */ (rate).placeholder = chosen === "usage" ? texts.asMeasured : "";
    if (chosen !== "usage") rate.closest("details")?.setAttribute("open", "");
  }

  async #submit() {
    this.general.textContent = "";
    for (const field of this.fields) field.showMistake("");
    this.busy(true);
    try {
      await this.start(await this.#request());
    } catch (error) {
      this.busy(false);
      if (error instanceof Mistake) this.mistake(error.message, error.field);
      else this.#refused(errorText(error), error instanceof ApiError && error.status === 400);
    }
  }

  /** What the API refuses begins with the field that it is about. @param {string} text @param {boolean} isOfField */
  #refused(text, isOfField) {
    const [, name, rest] = (isOfField && /^([a-z_]+)(?:\[\d+\])?: (.*)$/s.exec(text)) || [];
    if (this.fields.some((f) => f.name === name)) this.mistake(rest ?? text, name);
    else this.mistake(text);
  }

  /** Raises Mistake. */
  async #request() {
    const arrivals = this.arrivals.control.value;
    /** @type {Record<string, any>} */
    const request = { service: this.service.control.value, arrivals };
    if (arrivals === "csv") request.csv = await this.#csv();
    if (arrivals === "made_up") request.trace = this.trace.control.value;
    for (const [name, field] of Object.entries(this.numbers)) {
      const value = field.element.hidden ? null : field.read();
      if (value !== null) request[name] = value;
    }
    if (request.max_replicas !== undefined && request.max_replicas < (request.min_replicas ?? 0)) throw new Mistake("max_replicas", texts.order);
    request.budgets = this.#shares();
    request.policies = this.policies.filter(({ box }) => box.checked).map(({ value }) => value);
    return request;
  }

  async #csv() {
    const file = /** @type {HTMLInputElement} */ (this.csv.control).files?.[0];
    if (!file) throw new Mistake("csv", texts.noFile);
    if (file.size > MOST_BYTES) throw new Mistake("csv", texts.tooLarge);
    return file.text();
  }

  #shares() {
    const parts = this.budgets.control.value.split(",").map((part) => part.trim()).filter(Boolean);
    const shares = parts.map(Number);
    if (shares.length > MOST_BUDGETS || !shares.every((n) => n >= 0 && n <= 1)) throw new Mistake("budgets", texts.shares);
    return shares;
  }
}

/** @param {number | null} price */
function numbers(price) {
  return {
    days: new NumberField("days", { least: 1, most: 100, whole: true, value: 30 }),
    latency_target_s: new NumberField("latency_target_s", { least: 0.001, most: 3600, placeholder: texts.asShipped }),
    cold_start_s: new NumberField("cold_start_s", { least: 0, most: 86_400, placeholder: texts.asMeasured }),
    price: new NumberField("price", { least: 0, most: 1e6, placeholder: texts.none, value: price }),
    service_rate: new NumberField("service_rate", { least: 1e-4, most: 1e6, placeholder: texts.asMeasured }),
    min_replicas: new NumberField("min_replicas", { least: 0, most: MOST_REPLICAS, whole: true, value: 0 }),
    max_replicas: new NumberField("max_replicas", { least: 1, most: MOST_REPLICAS, whole: true, placeholder: texts.twice }),
    enough: new NumberField("enough", { least: 0, most: 100, scale: 100, value: 99 }),
  };
}
