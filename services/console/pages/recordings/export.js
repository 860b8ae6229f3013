/** A time to be saved as a file: chosen here, by keys or on the timeline. */

import { errorText, request, url } from "../api.js";
import { fill, h, setText } from "../parts/dom.js";
import { download } from "../parts/download.js";
import { clock, duration, iso, size } from "../parts/format.js";
import { instant, local } from "../parts/timespan.js";
import { coverage, HOUR, SECOND } from "./days.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Span} Span */

const texts = strings.export;
const LONGEST = 24 * HOUR;

export class Export {
  /** Of which there is video, of the day that is shown. @type {Span[]} */
  #stretches = [];
  /** @type {Span} */
  #day = { since: 0, until: 0 };
  /** Bytes a second. */
  #rate = 0;

  /** @param {string} camera @param {() => number} now the moment that is shown @param {(span: Span | null) => void} changed */
  constructor(camera, now, changed) {
    this.#path = `clips/${encodeURIComponent(camera)}`;
    this.#now = now;
    this.#changed = changed;
    const field = () => h("input", { type: "datetime-local", step: 1, onchange: () => this.#show() });
    this.begin = field();
    this.end = field();
    this.about = h("p", { class: "small", role: "status" }, texts.none);
    this.note = h("p", { class: "small muted", role: "status" });
    this.button = h("button", { class: "primary", disabled: true }, texts.download);
    this.element = h("form", { class: "recordings-export card", "aria-label": texts.title, noValidate: true, onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#save();
    } },
      h("h2", {}, texts.title),
      h("div", { class: "fields" },
        h("label", { class: "field" }, texts.begin, this.begin), h("button", { type: "button", onclick: () => this.from() }, texts.beginHere),
        h("label", { class: "field" }, texts.end, this.end), h("button", { type: "button", onclick: () => this.until() }, texts.endHere)),
      this.about, h("div", { class: "row" }, this.button), this.note);
  }

  #path;
  #now;
  #changed;

  /** What is chosen; null: nothing that can be. @returns {Span | null} */
  get span() {
    const [since, until] = [this.begin, this.end].map((field) => Date.parse(instant(field.value)));
    return since !== undefined && until !== undefined && since < until ? { since, until } : null;
  }

  /** @param {Span} day @param {Span[]} stretches @param {number} rate bytes a second */
  setDay(day, stretches, rate) {
    this.#day = day;
    this.#stretches = stretches;
    this.#rate = rate;
    this.#show();
  }

  /** Begin with the moment that is shown. */
  from() {
    this.#put(this.begin, this.#now());
  }

  until() {
    this.#put(this.end, this.#now());
  }

  /** @param {Span} span */
  choose(span) {
    this.begin.value = local(iso(span.since));
    this.end.value = local(iso(Math.max(span.until, span.since + SECOND)));
    this.#show();
  }

  /** @param {HTMLInputElement} field @param {number} time */
  #put(field, time) {
    if (Number.isNaN(time)) return;
    field.value = local(iso(time));
    this.#show();
  }

  #show() {
    const { span } = this;
    const [text, may] = this.#judge(span);
    setText(this.about, text);
    this.button.disabled = !may;
    this.#changed(span);
  }

  /** Its description, and whether it can be saved. @param {Span | null} span @returns {[string, boolean]} */
  #judge(span) {
    if (!span) return [this.begin.value && this.end.value ? texts.order : texts.none, false];
    const long = span.until - span.since;
    if (long > LONGEST) return [texts.long, false];
    const length = texts.length(duration(long / SECOND));
    // Of another day it is not known here what there is.
    if (span.since < this.#day.since || span.until > this.#day.until) return [length, true];
    const seconds = coverage(this.#stretches, span) / SECOND;
    if (!seconds) return [texts.nothing, false];
    const less = long / SECOND - seconds >= 1 ? [texts.less(duration(Math.round(seconds)))] : [];
    return [[length, ...less, ...(this.#rate ? [texts.size(size(seconds * this.#rate))] : [])].join(", "), true];
  }

  /** Ask what there is before the browser saves it: a file has a limit. */
  async #save() {
    const { span } = this;
    if (!span) return;
    const query = { from: iso(span.since), to: iso(span.until) };
    this.button.disabled = true;
    fill(this.note, texts.asking);
    try {
      const { headers } = await request("GET", this.#path, { query, range: "bytes=0-0" });
      const [since, until] = ["X-From", "X-To"].map((name) => headers.get(name) ?? "");
      const bytes = Number(headers.get("Content-Range")?.split("/")[1]);
      download(url(this.#path, { ...query, download: true }));
      const text = texts.saved(clock(since ?? ""), clock(until ?? ""), size(bytes));
      const isWhole = headers.get("X-Whole") !== "false";
      fill(this.note, isWhole ? text : `${text} ${texts.rest(clock(until ?? ""))}`);
      if (!isWhole && until) this.choose({ since: Date.parse(until), until: span.until });
    } catch (error) {
      fill(this.note, errorText(error));
    } finally {
      this.button.disabled = this.span === null;
    }
  }
}
