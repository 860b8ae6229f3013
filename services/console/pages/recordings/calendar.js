/** A month, and how much is recorded of each of its days. */

import { fill, h } from "../parts/dom.js";
import { duration, size } from "../parts/format.js";
import { dayAfter, dayOf, monthAfter, spanOf, weeksOf } from "./days.js";
import { strings } from "./strings.js";

/** @typedef {import("./days.js").Day} Day */

const texts = strings.calendar;
/** The hours of video from which a day has the next shade. */
const SHADES = [0, 4, 12, 20];

export class Calendar {
  /** @type {Map<string, Day>} */
  #days = new Map();
  #chosen = dayOf(Date.now());
  /** The day that has the keyboard, whose month is shown. */
  #at = this.#chosen;

  /** @param {(day: string) => void} choose */
  constructor(choose) {
    this.#choose = choose;
    this.month = h("h2", { id: "recordings-month", "aria-live": "polite" });
    this.table = h("table", { role: "grid", "aria-labelledby": this.month.id, onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event) });
    const button = (/** @type {string} */ text, /** @type {string} */ sign, /** @type {number} */ by) =>
      h("button", { type: "button", "aria-label": text, title: text, onclick: () => this.#go(monthAfter(this.#at, by)) }, sign);
    this.element = h("section", { class: "recordings-calendar card", "aria-label": texts.title },
      h("div", { class: "head" }, button(texts.before, "←", -1), this.month, button(texts.after, "→", 1)),
      this.table, h("p", { class: "small muted" }, texts.help));
  }

  #choose;

  /** @param {Map<string, Day>} days @param {string} chosen */
  show(days, chosen) {
    this.#days = days;
    if (chosen !== this.#chosen) this.#at = chosen;
    this.#chosen = chosen;
    this.#draw();
  }

  #draw() {
    const first = new Date(spanOf(this.#at)?.since ?? 0);
    const hasFocus = this.table.contains(document.activeElement);
    this.month.textContent = first.toLocaleDateString("en-GB", { month: "long", year: "numeric" });
    fill(this.table,
      h("thead", {}, h("tr", {}, texts.weekdays.map((day) => h("th", { scope: "col", abbr: day }, day.slice(0, 2))))),
      h("tbody", {}, weeksOf(this.#at).map((week) => h("tr", {}, week.map((day) => h("td", {}, day ? this.#cell(day) : null))))));
    if (hasFocus) this.#focus();
  }

  /** @param {string} day */
  #cell(day) {
    const { since } = spanOf(day) ?? { since: 0 };
    const total = this.#days.get(day);
    const hours = (total?.seconds ?? 0) / 3600;
    const shade = hours ? SHADES.filter((from) => hours >= from).length : 0;
    const name = new Date(since).toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long" });
    const text = total && hours ? texts.some(name, duration(Math.round(total.seconds)), size(total.bytes)) : texts.none(name);
    return h("button", {
      type: "button", class: `day shade-${shade}${total?.incident ? " eventful" : ""}`, tabIndex: day === this.#at ? 0 : -1, dataset: { day },
      title: text,
      "aria-pressed": String(day === this.#chosen), "aria-current": day === dayOf(Date.now()) ? "date" : null,
      onclick: () => this.#pick(day),
    }, h("span", { class: "sr" }, total?.incident ? `${text}, ${texts.incident}` : text),
      h("span", { class: "date", "aria-hidden": "true" }, Number(day.slice(8))), h("span", { class: "much", "aria-hidden": "true" }, hours ? texts.hours(hours) : ""));
  }

  /** @param {string} day */
  #pick(day) {
    this.#at = day;
    this.#choose(day);
  }

  /** @param {string} day */
  #go(day) {
    this.#at = day;
    this.#draw();
  }

  #focus() {
    /** @type {HTMLElement | null} */ (this.table.querySelector("[tabindex='0']"))?.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const weekday = (new Date(spanOf(this.#at)?.since ?? 0).getDay() + 6) % 7;
    /** @type {Record<string, () => string>} */
    const keys = {
      ArrowLeft: () => dayAfter(this.#at, -1), ArrowRight: () => dayAfter(this.#at, 1),
      ArrowUp: () => dayAfter(this.#at, -7), ArrowDown: () => dayAfter(this.#at, 7),
      Home: () => dayAfter(this.#at, -weekday), End: () => dayAfter(this.#at, 6 - weekday),
      PageUp: () => monthAfter(this.#at, -1), PageDown: () => monthAfter(this.#at, 1),
    };
    const next = keys[event.key];
    if (!next) return;
    event.preventDefault();
    this.#go(next());
    this.#focus();
  }
}
