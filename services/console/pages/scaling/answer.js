/** What came of a what-if: what is saved, the table, the plot, what it goes by, and the ScaledObject. */

import { copy } from "../parts/copy.js";
import { h } from "../parts/dom.js";
import { duration, number, percent } from "../parts/format.js";
import { Plot } from "./plot.js";
import { strings } from "./strings.js";

const texts = strings.answer;

export class Answer {
  /** @param {any} job */
  constructor(job) {
    const answer = job.answer;
    this.plot = new Plot(answer);
    this.element = h("section", { class: "stack scaling-answer", "aria-label": texts.title(job.service) },
      h("h2", {}, texts.title(job.service)),
      h("p", { class: "big" }, saved(answer)),
      answer.recommended !== answer.saved.against && h("p", {}, served(answer)),
      table(answer),
      h("p", { class: "small muted" }, texts.rule),
      this.plot.element,
      h("div", { class: "card" }, h("h3", {}, texts.notes), h("p", {}, texts.load(answer.load, (n) => number(n, 3))),
        h("ul", { class: "sentences small" }, answer.notes.map((/** @type {string} */ note) => h("li", {}, note)))),
      scaledObject(answer));
  }

  /** Once it is on the page. */
  draw() {
    this.plot.begin();
  }

  end() {
    this.plot.end();
  }
}

/** @param {any} answer */
function saved({ saved, recommended }) {
  if (recommended === saved.against) return texts.same(recommended);
  const phrase = saved.gpu_hours_30d < 0 ? texts.costs : texts.saves;
  const hours = number(Math.abs(saved.gpu_hours_30d));
  const amount = saved.cost_30d === null ? texts.hours(hours) : texts.money(number(Math.abs(saved.cost_30d), 2), hours);
  return phrase(recommended, amount, saved.against);
}

/** A cheaper way that serves less would save nothing. @param {any} answer */
function served({ table, recommended, saved }) {
  const of = (/** @type {string} */ name) => table.find((/** @type {any} */ row) => row.name === name);
  const [best, against] = [of(recommended), of(saved.against)];
  return texts.serves(percent(best.minutes_served), percent(against.minutes_served), duration(best.p99_s), duration(against.p99_s));
}

/** @param {any} answer */
function table(answer) {
  const columns = texts.columns;
  const costs = answer.table.some((/** @type {any} */ row) => row.cost_30d !== null);
  const names = Object.entries(columns).filter(([name]) => costs || name !== "cost");
  const head = h("tr", {}, names.map(([name, text]) => h("th", { scope: "col", class: name === "name" ? "" : "number" }, text)));
  const cell = (/** @type {string} */ label, /** @type {string} */ text) => h("td", { class: "number", dataset: { label } }, text);
  const row = (/** @type {any} */ r) => h("tr", { class: r.recommended ? "best" : "" },
    h("td", { dataset: { label: columns.name } }, h("div", {},
      h("div", { class: "row" }, h("strong", {}, r.name), r.recommended && h("span", { class: "tag good" }, texts.recommended)),
      h("div", { class: "small muted" }, r.settings))),
    cell(columns.hours, number(r.gpu_hours_30d)),
    cell(columns.of_static, times(r.of_static)),
    cell(columns.of_bound, times(r.of_bound)),
    cell(columns.served, percent(r.minutes_served)),
    cell(columns.p99, duration(r.p99_s)),
    cell(columns.left_out, r.deferred ? percent(r.left_out) : ""),
    cell(columns.made_good, r.deferred ? percent(r.backfilled / r.deferred) : ""),
    costs && cell(columns.cost, number(r.cost_30d, 2)));
  return h("div", { class: "scroll", role: "region", "aria-label": texts.table, tabIndex: 0 },
    h("table", { class: "cards" }, h("thead", {}, head), h("tbody", {}, answer.table.map(row))));
}

/** @param {number | null} n */
function times(n) {
  return n === null ? "–" : texts.times(n.toFixed(2));
}

/** @param {any} answer */
function scaledObject(answer) {
  const rows = answer.table.filter((/** @type {any} */ row) => row.scaled_object && row.name !== "now");
  const text = h("pre", { tabIndex: 0, "aria-label": texts.apply }, answer.scaled_object);
  const select = h("select", { onchange: () => {
    text.textContent = rows.find((/** @type {any} */ row) => row.name === select.value)?.scaled_object ?? "";
  } }, rows.map((/** @type {any} */ row) => h("option", { value: row.name, selected: row.recommended }, row.name)));
  return h("div", { class: "card" }, h("h3", {}, texts.apply), h("p", { class: "small muted" }, texts.applyHint),
    h("div", { class: "row yaml" }, h("label", { class: "row" }, texts.of, select),
      h("button", { type: "button", onclick: () => void copy(text, texts) }, texts.copy)), text);
}
