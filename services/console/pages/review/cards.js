/** Incidents as a list of cards. A card that has not changed stays as it is, with its picture and the focus on it. */

import { url } from "../api.js";
import { arrange, h } from "../parts/dom.js";
import { clock, duration, percent } from "../parts/format.js";
import { to } from "../router.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Card} Card */

export class CardList {
  /** @type {Map<string, {json: string, item: HTMLLIElement}>} */
  #shown = new Map();
  /** @type {Card[]} */
  cards = [];

  /**
   * @param {(id: string) => void} open
   * @param {() => import("./query.js").Query} query what the address says now
   */
  constructor(open, query) {
    this.#open = open;
    this.#query = query;
    this.element = h("ul", { class: "incidents", "aria-label": strings.list });
  }

  #open;
  #query;

  /** @param {Card[]} cards */
  show(cards) {
    this.cards = cards;
    const items = cards.map((card) => {
      const json = JSON.stringify(card);
      const entry = this.#shown.get(card.id);
      if (entry?.json === json) return entry.item;
      const item = this.#card(card);
      const hadFocus = entry?.item.contains(document.activeElement);
      entry?.item.replaceWith(item);
      if (hadFocus) item.querySelector("a")?.focus();
      this.#shown.set(card.id, { json, item });
      return item;
    });
    const ids = new Set(cards.map((card) => card.id));
    for (const id of this.#shown.keys()) if (!ids.has(id)) this.#shown.delete(id);
    arrange(this.element, items);
  }

  /** @param {string} id of the one that is open; empty: none is @param {boolean} [move] the focus to it */
  select(id, move = false) {
    for (const [other, { item }] of this.#shown) {
      const link = item.querySelector("a");
      if (other !== id) link?.removeAttribute("aria-current");
      else {
        link?.setAttribute("aria-current", "true");
        if (move) link?.focus({ preventScroll: true });
        if (move) item.scrollIntoView({ block: "nearest" });
      }
    }
  }

  /** The card `by` places after this one. @param {string} id @param {number} by @returns {Card | undefined} */
  beside(id, by) {
    const at = this.cards.findIndex((card) => card.id === id);
    return at < 0 ? this.cards[0] : this.cards[at + by];
  }

  /** @param {Card} card */
  #card(card) {
    const link = h("a", {
      href: to("review", [], { ...this.#query(), open: card.id, at: "" }),
      class: `incident ${card.severity}${card.reviewed ? " reviewed" : ""}${pictured(card) ? "" : " blind"}`,
      onclick: (/** @type {MouseEvent} */ event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
        event.preventDefault();
        this.#open(card.id);
      },
    },
    picture(card),
    h("span", { class: "about" },
      h("strong", {}, card.camera, " · ", card.rule),
      h("span", { class: "small muted" }, clock(card.start), " · ", lengthText(card)),
      h("span", { class: "small" }, what(card)),
      h("span", { class: "row" }, tags(card))));
    return h("li", {}, link);
  }
}

/** Whether there may be a picture: an alert's outlives the video. @param {Card} card */
export const pictured = (card) => card.video || card.alert;

/** Null if the video has expired. @param {Card} card */
function picture(card) {
  if (!pictured(card)) return null;
  const image = h("img", { class: "picture", alt: "", loading: "lazy", decoding: "async", src: url(`incidents/${card.id}/picture`, { width: 320 }) });
  image.addEventListener("error", () => {
    image.closest(".incident")?.classList.add("blind");
    image.remove();
  });
  return image;
}

/** How long it was, or that it lasts. @param {Card} card */
export function lengthText(card) {
  if (!card.end) return strings.lasts;
  return duration((Date.parse(card.end) - Date.parse(card.start)) / 1000);
}

/** Its objects and its place. @param {Card} card */
export function what(card) {
  const objects = Object.entries(card.labels).map(([label, n]) => (n > 1 ? `${n} × ${label}` : label));
  const place = card.zone ?? card.line;
  return [objects.join(", "), card.condition, card.direction, place ? strings.at(place) : ""].filter(Boolean).join(" · ");
}

/** @param {Card} card @returns {HTMLElement[]} */
export function tags(card) {
  const out = [h("span", { class: `tag ${card.severity}` }, strings.severities[card.severity])];
  if (card.alert) out.push(h("span", { class: "tag" }, strings.alert));
  if (card.not_found) out.push(h("span", { class: "tag", title: strings.notFoundHelp }, strings.verdicts.not_found));
  else if (card.verification !== "none") {
    const sure = card.confidence === null ? "" : ` ${percent(card.confidence)}`;
    out.push(h("span", { class: "tag", title: card.reason }, /** @type {any} */ (strings.verdicts)[card.verification], sure));
  }
  if (card.late) out.push(h("span", { class: "tag", title: strings.lateHelp }, strings.late));
  if (card.reviewed) out.push(h("span", { class: "tag good" }, strings.reviews.true));
  return out;
}
