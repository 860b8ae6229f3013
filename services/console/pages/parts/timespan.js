/** A field for a time: the last n seconds, or from one moment to another. */

import { h } from "./dom.js";
import { iso } from "./format.js";

/** @typedef {{last: string, since: string, until: string}} Span last: seconds; since, until: RFC 3339; empty: not given */

const BETWEEN = "between";

export class SpanField {
  /**
   * @param {{time: string, times: Record<string, string>, between: string, from: string, to: string}} words times: by seconds; "": any
   * @param {() => void} change
   */
  constructor(words, change) {
    this.select = h("select", { onchange: () => this.#chosen() },
      Object.entries(words.times).sort(([a], [b]) => Number(a) - Number(b)).map(([value, text]) => h("option", { value }, text)),
      h("option", { value: BETWEEN }, words.between));
    this.since = h("input", { type: "datetime-local", step: 1, onchange: change });
    this.until = h("input", { type: "datetime-local", step: 1, onchange: change });
    this.#change = change;
    this.#between = h("div", { class: "row", hidden: true },
      h("label", { class: "field" }, words.from, this.since), h("label", { class: "field" }, words.to, this.until));
    this.element = h("div", { class: "stack" }, h("label", { class: "field" }, words.time, this.select), this.#between);
  }

  #change;
  #between;

  /** @returns {Span} */
  get value() {
    if (this.select.value !== BETWEEN) return { last: this.select.value, since: "", until: "" };
    return { last: "", since: instant(this.since.value), until: instant(this.until.value) };
  }

  /** @param {Span} span */
  set value({ last, since, until }) {
    const between = Boolean(since || until);
    if (last && ![...this.select.options].some((option) => option.value === last)) this.select.append(h("option", { value: last }, `${last} s`));
    this.select.value = between ? BETWEEN : last;
    if (this.select.selectedIndex < 0) this.select.selectedIndex = 0;
    this.#between.hidden = !between;
    this.since.value = local(since);
    this.until.value = local(until);
  }

  #chosen() {
    const between = this.select.value === BETWEEN;
    this.#between.hidden = !between;
    if (between && !this.since.value) this.since.value = local(iso(Date.now() - 3_600_000));
    this.#change();
  }
}

/** Of a field without a zone: the browser's. @param {string} text */
export function instant(text) {
  const time = new Date(text);
  return text && !Number.isNaN(time.getTime()) ? time.toISOString() : "";
}

/** @param {string} time */
export function local(time) {
  const at = new Date(time);
  if (!time || Number.isNaN(at.getTime())) return "";
  return iso(at.getTime() - at.getTimezoneOffset() * 60_000).slice(0, 19);
}
