/** A card for each service: what arrives, what waits, how many replicas there are and why; and all about it on request. */

import { arrange, fill, h } from "../parts/dom.js";
import { fact } from "../parts/facts.js";
import { duration, number, percent } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { table } from "../parts/table.js";
import { strings } from "./strings.js";

const texts = strings.services;
/** @type {Record<string, string>} */
const TONES = { working: "good", starting: "warn", resting: "", missing: "bad", unknown: "" };

export class Services {
  /** @param {(service: string) => void} chosen called with the service whose history to show */
  constructor(chosen) {
    this.chosen = chosen;
    this.grid = h("div", { class: "services" });
    this.element = h("section", { class: "stack", "aria-labelledby": "services" }, h("h2", { id: "services" }, texts.title), this.grid);
    /** @type {Map<string, Card>} */
    this.cards = new Map();
  }

  /** Cards stay the same elements, so that nothing that is open or has the focus is lost. @param {any} now */
  show(now) {
    const names = now.services.map((/** @type {any} */ service) => service.name);
    for (const name of [...this.cards.keys()]) if (!names.includes(name)) this.cards.delete(name);
    for (const service of now.services) {
      let card = this.cards.get(service.name);
      if (!card) {
        card = new Card(service.name, this.chosen);
        this.cards.set(service.name, card);
      }
      card.show(service);
    }
    if (names.length) arrange(this.grid, names.map((/** @type {string} */ name) => /** @type {Card} */ (this.cards.get(name)).element));
    else fill(this.grid, emptyNote(texts.none));
  }
}

class Card {
  /** @param {string} name @param {(service: string) => void} chosen */
  constructor(name, chosen) {
    this.state = h("span", { class: "tag" });
    this.facts = h("dl", { class: "figures" });
    this.bar = h("div", { class: "split", "aria-hidden": "true" });
    this.more = h("div", { class: "stack" });
    this.details = h("details", {}, h("summary", {}, texts.more(name)), this.more);
    this.details.addEventListener("toggle", () => this.details.open && this.#fillMore());
    const title = h("button", { type: "button", class: "plain", onclick: () => chosen(name) }, name);
    this.element = h("article", { class: "card service", "aria-label": name },
      h("div", { class: "head" }, h("h3", {}, title), this.state), this.facts, this.bar, this.details);
    /** @type {any} */
    this.service = null;
  }

  /** @param {any} service */
  show(service) {
    this.service = service;
    fill(this.state, h("span", { class: `dot ${TONES[service.state] ?? ""}` }), /** @type {any} */ (texts.state)[service.state]);
    fill(this.facts, facts(service).map((pair) => fact(...pair)));
    this.#split(service.time);
    if (this.details.open) this.#fillMore();
  }

  /** How its replicas' time was spent. @param {any} time */
  #split(time) {
    this.bar.hidden = !time?.used_s;
    if (this.bar.hidden) return;
    if (this.bar.childElementCount === 0) fill(this.bar, ["busy", "idle", "warming"].map((part) => h("span", { class: part })));
    const shares = timeShares(time);
    [...this.bar.children].forEach((part, i) => (/** @type {HTMLElement} */ (part).style.flexGrow = String(shares[i])));
  }

  #fillMore() {
    const s = this.service;
    fill(this.more,
      h("h4", {}, texts.why),
      s.sentences.length ? h("ol", { class: "why" }, s.sentences.map((/** @type {string} */ line) => h("li", { class: line === s.sentence ? "decides" : "" }, line)))
        : h("p", { class: "muted" }, s.sentence || texts.whyNot),
      s.queues.length ? [h("h4", {}, texts.queues), queues(s.queues)] : [],
      s.replicas.length ? [h("h4", {}, texts.replicas), replicas(s.replicas)] : []);
  }
}

/** @param {any} s @returns {[string, string, string?][]} */
function facts(s) {
  /** @type {[string, string, string?][]} */
  const rows = [];
  const rate = (/** @type {number | null} */ n) => (n === null ? "–" : texts.perSecond(number(n)));
  if (s.arriving !== null) rows.push([texts.arriving, rate(s.arriving)], [texts.clearing, rate(s.clearing)]);
  if (s.pending !== null) {
    rows.push([texts.age, s.age_s ? duration(s.age_s) : "–", s.age_s > s.late_s ? "bad" : ""]);
    rows.push([texts.waiting, `${number(s.pending)}, ${number(s.in_flight)}`]);
  }
  if (s.said !== null) rows.push([s.name === "ingest" ? texts.stores : texts.says, rate(s.said)]);
  if (s.ready !== null) rows.push([texts.replicas, replicasText(s)]);
  if (s.wanted !== null) rows.push([texts.because, /** @type {any} */ (texts.decides)[s.decides]]);
  if (s.time?.used_s) rows.push([texts.time, timeShares(s.time).map(percent).join(", ")]);
  if (s.deferred > 0) rows.push([texts.leftOut, percent(s.left_out), s.left_out > 0.5 ? "warn" : ""]);
  if (s.put_off !== null && (s.put_off || s.made_good)) rows.push([texts.putOff, `${number(s.put_off)}, ${number(s.made_good)}`]);
  return rows;
}

/** The shares of busy, idle and warming. @param {any} time @returns {[number, number, number]} */
export function timeShares(time) {
  const all = time.busy_s + time.idle_s + time.warming_s || 1;
  return [time.busy_s / all, time.idle_s / all, time.warming_s / all];
}

/** @param {any} s */
function replicasText(s) {
  const text = s.wanted === null ? number(s.ready) : texts.replicasNow(number(s.ready), number(Math.ceil(s.wanted)));
  const also = [s.warming && strings.verdict.starting(s.warming), s.draining && strings.verdict.draining(s.draining)];
  return [text, ...also].filter(Boolean).join(", ");
}

/** @param {any[]} queues */
function queues(queues) {
  return table(texts.queues, columns(texts.queue), queues.map((q) => [
    `${q.stream} ${q.consumer}`, texts.perSecond(number(q.arriving)), texts.perSecond(number(q.clearing)), number(q.pending),
    number(q.in_flight), q.age_s ? duration(q.age_s) : "–",
  ]), { wide: true });
}

/** @param {any[]} replicas */
function replicas(replicas) {
  return table(texts.replicas, columns(texts.replica), replicas.map((r) => [
    r.replica, texts.states[r.state] ?? r.state, r.model || "–", percent(r.busy), number(r.held), duration(Math.round(r.uptime_s)),
  ]), { wide: true });
}

/** @param {Record<string, string>} heads */
function columns(heads) {
  return Object.values(heads).map((head) => ({ head }));
}
