/** What came of a what-if: what is saved, the table, the plot, what it goes by, and the ScaledObject. */

import { copy } from "../parts/copy.js";
import { h } from "../parts/dom.js";
import { duration, number, percent } from "../parts/format.js";
import { table } from "../parts/table.js";
import { strings as shared } from "../strings.js";
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
      comparison(answer),
      h("p", { class: "small muted" }, texts.rule),
      this.plot.element,
      h("div", { class: "card" }, h("h3", {}, texts.notes), h("p", {}, texts.load(answer.load, (n) => number(n, 3))),
        h("ul", { class: "sentences small" }, answer.notes.map((/** @type {string} */ note) => h("li", {}, note)))),
      scaledObject(answer));
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
function comparison(answer) {
  const hasCost = answer.table.some((/** @type {any} */ row) => row.cost_30d !== null);
  const { name, cost, ...others } = texts.columns;
  const columns = [{ head: name }, ...[...Object.values(others), ...(hasCost ? [cost] : [])].map((head) => ({ head, number: true }))];
  const rows = answer.table.map((/** @type {any} */ r) => [
    [h("div", { class: "row" }, h("strong", {}, r.name), r.recommended && h("span", { class: "tag good" }, texts.recommended)),
      h("div", { class: "small muted" }, r.settings)],
    number(r.gpu_hours_30d), times(r.of_static), times(r.of_bound), percent(r.minutes_served), duration(r.p99_s),
    r.deferred ? percent(r.left_out) : "", r.deferred ? percent(r.backfilled / r.deferred) : "",
    r.deferred ? percent(r.never_share) : "", ...(hasCost ? [number(r.cost_30d, 2)] : []),
  ]);
  return table(texts.table, columns, rows, { wide: true, marked: answer.table.findIndex((/** @type {any} */ r) => r.recommended) });
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
      h("button", { type: "button", onclick: () => void copy(text) }, shared.copy)), text);
}
