/** One incident: its clip, its verdict, its deferred frames and its evidence. */

import { fill, h } from "../parts/dom.js";
import { fact } from "../parts/facts.js";
import { clock, number, percent } from "../parts/format.js";
import { to } from "../router.js";
import { lengthText, pictured, tags, what } from "./cards.js";
import { Player } from "./player.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Details} Details */
/** @typedef {import("./types.js").Card} Card */
/** @typedef {{close: () => void, review: () => void, clip: () => void, picture: () => void, share: () => void}} Actions */

const texts = strings.detail;

export class Detail {
  /** @type {Player | null} */
  player = null;
  /** @type {Details | null} */
  details = null;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.element = h("section", { class: "review-detail stack", "aria-live": "off" }, nothing());
  }

  #actions;

  /** @param {Details} details @param {number} at the moment that the video begins with; NaN: where the incident does */
  show(details, at) {
    this.player?.end();
    this.details = details;
    this.player = new Player(details, at);
    this.#facts = h("div", { class: "stack" });
    this.#mark = h("button", { type: "button", onclick: this.#actions.review });
    const { card } = details;
    fill(this.element,
      h("div", { class: "head" }, h("h2", {}, `${card.camera} · ${card.rule}`),
        h("button", { type: "button", onclick: this.#actions.close }, texts.close)),
      this.player.element,
      h("div", { class: "row" }, this.#mark,
        h("button", { type: "button", disabled: !card.video, onclick: this.#actions.clip }, texts.clip),
        h("button", { type: "button", disabled: !pictured(card), onclick: this.#actions.picture }, texts.picture),
        h("button", { type: "button", onclick: this.#actions.share }, texts.share),
        h("button", { type: "button", onclick: () => this.player?.boxes() }, texts.boxes),
        h("a", { class: "button", href: to("recordings", [card.camera], { at: card.start }) }, texts.recordings)),
      this.#facts);
    this.update(details);
  }

  #facts = h("div");
  #mark = h("button");

  /** Update the facts, and leave the video as it is. @param {Details} details */
  update(details) {
    this.details = details;
    const { card } = details;
    fill(this.#mark, card.reviewed ? texts.unmark : texts.mark);
    fill(this.#facts,
      h("div", { class: "row" }, tags(card)),
      h("dl", { class: "review-facts" },
        fact(texts.what, what(card)),
        fact(texts.when, `${clock(card.start)} · ${lengthText(card)}`),
        card.value === null ? null : fact(texts.value, number(card.value)),
        fact(texts.verdict, verdict(details)),
        fact(texts.deferred, deferred(details)),
        fact(texts.objects, objects(details)),
        fact(texts.evidence, evidence(details))));
  }

  /** @param {string} [why] */
  clear(why) {
    this.player?.end();
    this.player = null;
    this.details = null;
    fill(this.element, nothing(why));
  }
}

/** @param {string} [why] */
function nothing(why) {
  return h("p", { class: "empty", role: why ? "alert" : null }, why ?? strings.choose);
}

/** @param {Details} details @returns {string | HTMLElement} */
function verdict({ card, verdict: by }) {
  if (card.not_found) return strings.notFoundHelp;
  if (card.verification === "none") return texts.notAsked;
  if (card.verification === "pending") return texts.pending;
  const sure = card.confidence === null ? "" : by ? texts.sure(percent(card.confidence), by.model) : texts.sureOnly(percent(card.confidence));
  return h("span", {}, h("strong", {}, /** @type {any} */ (strings.verdicts)[card.verification]), card.reason ? `: ${card.reason}` : "", sure ? ` (${sure})` : "");
}

/** @param {Details} details @returns {string | HTMLElement} */
function deferred(details) {
  if (!details.deferred.length) return texts.nothingDeferred;
  return h("ul", {}, details.deferred.map((part) => {
    const why = part.lost ? `: ${/** @type {any} */ (texts.lost)[part.lost] ?? part.lost}` : "";
    return h("li", {}, `${clock(part.since)}–${clock(part.until)}: ${texts.sampled(number(part.fps), number(part.wanted))}, ${texts.outcomes[part.outcome]}${why}`);
  }));
}

/** @param {Details} details */
function objects(details) {
  const paths = new Map(details.paths.map((path) => [path.id, path]));
  return h("ul", {}, details.objects.slice(0, 20).map((o) => {
    const points = paths.get(o.id)?.points ?? [];
    const [first, last] = [points[0], points.at(-1)];
    const time = first && last ? `${clock(first.time)}–${clock(last.time)}` : texts.noPaths;
    return h("li", {}, `${o.label} ${percent(o.score)} · ${time}`);
  }));
}

/** @param {Details} details */
function evidence(details) {
  const seqs = details.segments.map((segment) => segment.seq);
  const named = seqs.length > 6 ? [...seqs.slice(0, 3), "…", ...seqs.slice(-2)] : seqs;
  return texts.segments(seqs.length, named.join(", "));
}
