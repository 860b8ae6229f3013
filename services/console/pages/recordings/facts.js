/** Facts next to the video: a camera's storage and policy, and the gaps of a day. */

import { fill, h } from "../parts/dom.js";
import { figures } from "../parts/facts.js";
import { clock, duration, number, size } from "../parts/format.js";
import { SECOND } from "./days.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").OfCamera} OfCamera */
/** @typedef {import("./types.js").Gap} Gap */
/** @typedef {import("./types.js").Cause} Cause */

const texts = strings.facts;
const MOST_GAPS = 20;

/** @param {OfCamera} of */
export function policy({ record, rest, keep_days, held }) {
  if (record === "never") return texts.recorded.never;
  const what = record !== "always" && rest === "keyframes" ? texts.rest(texts.recorded[record]) : texts.recorded[record];
  return held ? `${what}, ${texts.held}` : texts.days(what, number(keep_days));
}

/** @param {OfCamera} of */
export function goes({ goes, since }) {
  return goes ? clock(goes) : since ? texts.never : "–";
}

/** @param {Record<string, number>} lost seconds by cause */
export function missing(lost) {
  const causes = Object.entries(lost).filter(([, seconds]) => seconds >= 1).sort(([, a], [, b]) => b - a);
  return causes.length ? causes.map(([cause, seconds]) => texts.lost(duration(Math.round(seconds)), /** @type {Cause} */ (cause))) : [texts.nothing];
}

/** @param {OfCamera} of */
export function facts(of) {
  return figures([
    [texts.video, duration(Math.round(of.seconds))], [texts.disk, size(of.bytes)],
    [texts.since, of.since ? clock(of.since) : "–"], [texts.until, of.until ? clock(of.until) : "–"],
    [texts.policy, policy(of)], [texts.goes, goes(of)],
    [texts.missing, h("ul", {}, missing(of.lost).map((text) => h("li", {}, text)))],
  ]);
}

/** The longest gaps of a day, by time. */
export class Gaps {
  constructor() {
    this.list = h("ul", { class: "stack small" });
    this.element = h("section", { class: "recordings-gaps card", "aria-label": strings.gaps.title }, h("h2", {}, strings.gaps.title), this.list);
    this.#shown = "";
  }

  #shown;

  /** @param {Gap[]} gaps */
  show(gaps) {
    const shown = JSON.stringify(gaps);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const longest = [...gaps].sort((a, b) => length(b) - length(a)).slice(0, MOST_GAPS).sort((a, b) => a.since - b.since);
    fill(this.list,
      longest.map((gap) => h("li", {}, h("strong", {}, strings.gaps.one(clock(gap.since), clock(gap.until), duration(Math.round(length(gap) / SECOND)))),
        `: ${strings.causes[gap.cause] ?? gap.cause}`)),
      gaps.length > longest.length ? h("li", { class: "muted" }, strings.gaps.more(gaps.length - longest.length)) : null,
      gaps.length ? null : h("li", { class: "muted" }, strings.gaps.none));
  }
}

/** @param {Gap} gap */
function length({ since, until }) {
  return until - since;
}

/** What there is instead of recordings, and what to do. @param {string} why @param {string} what @param {string} command @param {string} [more] */
export function empty(why, what, command, more) {
  return h("div", { class: "empty stack", role: "status" }, h("h2", {}, why), h("p", {}, what), h("p", {}, h("code", {}, command)), more ? h("p", { class: "small" }, more) : null);
}
