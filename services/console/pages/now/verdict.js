/** The first answers: what is late, how many GPUs run and why, what they cost, what needs attention. */

import { fill, h } from "../parts/dom.js";
import { clock, duration, number, percent, size } from "../parts/format.js";
import { timeShares } from "./services.js";
import { strings } from "./strings.js";

const texts = strings.verdict;

/** @typedef {{tone: "good" | "warn" | "bad" | "muted", answer: string, more: string[]}} Verdict */

/** @param {any} now @returns {Verdict} */
function lateness(now) {
  const more = [texts.flow(number(now.segments), `${size(now.bytes)}/s`)];
  const worst = now.attention.find((/** @type {any} */ a) => ["expired", "missing", "late"].includes(a.kind));
  const oldest = now.services
    .filter((/** @type {any} */ s) => s.age_s > 0)
    .sort((/** @type {any} */ a, /** @type {any} */ b) => b.age_s - a.age_s)[0];
  if (oldest) more.unshift(texts.oldest(duration(oldest.age_s), oldest.name));
  else if (now.connected) more.unshift(texts.nothingWaits);
  if (!now.connected) return { tone: "bad", answer: texts.cannotTell, more: [] };
  if (!worst) return { tone: "good", answer: texts.notLate, more };
  const tone = worst.severity === "critical" ? "bad" : "warn";
  if (worst.kind === "expired") return { tone, answer: texts.expired(worst.amount), more };
  if (worst.kind === "missing") return { tone, answer: texts.nobody(worst.service), more };
  return { tone, answer: texts.lateBy(worst.service, duration(worst.amount)), more };
}

/** @param {any} now @returns {Verdict} */
export function gpus(now) {
  const scaled = now.services.filter((/** @type {any} */ s) => s.ready !== null);
  const sum = (/** @type {string} */ field) => scaled.reduce((/** @type {number} */ n, /** @type {any} */ s) => n + (s[field] ?? 0), 0);
  const [ready, warming, draining] = [sum("ready"), sum("warming"), sum("draining")];
  const also = [warming && texts.starting(warming), draining && texts.draining(draining)].filter(Boolean);
  const answer = [ready ? texts.work(ready) : texts.none, ...also].join(", ");
  const largest = scaled.filter((/** @type {any} */ s) => s.wanted > 0).sort((/** @type {any} */ a, /** @type {any} */ b) => b.wanted - a.wanted)[0];
  if (!largest) {
    const hasScaler = scaled.some((/** @type {any} */ s) => s.wanted !== null);
    return { tone: "muted", answer, more: [hasScaler || !ready ? texts.nothingToDo : texts.noScaler] };
  }
  return { tone: "muted", answer, more: [`${largest.name}: ${largest.sentence}`] };
}

/** @param {any} now @returns {Verdict} */
export function cost(now) {
  const timed = now.services.filter((/** @type {any} */ s) => s.time);
  const sum = (/** @type {string} */ of, /** @type {string} */ field) =>
    timed.reduce((/** @type {number} */ n, /** @type {any} */ s) => n + (s[of]?.[field] ?? 0), 0);
  const used = sum("time", "used_s");
  const more = [];
  if (used > 0) {
    const [busy, idle, warming] = timeShares({ busy_s: sum("time", "busy_s"), idle_s: sum("time", "idle_s"), warming_s: sum("time", "warming_s") });
    more.push(texts.shares(percent(busy), percent(idle), percent(warming)));
  }
  if (now.cost_per_hour === null) {
    if (used > 0) more.unshift(texts.hours(duration(used), duration(sum("time", "saved_s"))));
    return { tone: "muted", answer: texts.noPrice, more: [...more, texts.since(clock(now.since))] };
  }
  more.unshift(texts.spent(number(sum("money", "spent"), 2), number(sum("money", "saved"), 2)));
  return { tone: "muted", answer: texts.perHour(number(sum("money", "per_hour"), 2)), more: [...more, texts.since(clock(now.since))] };
}

/** @param {any} now @returns {Verdict} */
export function needs(now) {
  const n = now.attention.length;
  const critical = now.attention.some((/** @type {any} */ a) => a.severity === "critical");
  if (!n) return { tone: "good", answer: texts.nothing, more: [] };
  return { tone: critical ? "bad" : "warn", answer: texts.some(n), more: [] };
}

/** One line of what needs attention. @param {any} a */
export function phrase(a) {
  const texts = strings.attention;
  if (a.kind === "late") return texts.late(a.service, duration(a.amount));
  if (a.kind === "expired") return texts.expired(a.service, a.amount);
  if (a.kind === "missing") return texts.missing(a.service, a.amount);
  if (a.kind === "camera") return texts.camera(a.camera, a.reason);
  if (a.kind === "lost") return texts.lost(a.camera, a.amount, a.reason);
  if (a.kind === "process") return texts.process(a.service, a.reason);
  if (a.kind === "unknown") return texts.unknown(a.service, a.reason);
  return a.kind === "server" ? texts.server : texts.scaler;
}

/** The four answers side by side. */
export class Verdicts {
  constructor() {
    /** @type {[HTMLElement, (now: any) => Verdict][]} */
    this.cards = [[texts.late, lateness], [texts.gpus, gpus], [texts.cost, cost], [texts.needs, needs]].map(([title, find]) => {
      const body = h("div", { class: "stack" });
      return [h("section", { class: "card verdict" }, h("h2", { class: "muted small" }, /** @type {string} */ (title)), body), /** @type {any} */ (find)];
    });
    this.element = h("div", { class: "verdicts" }, this.cards.map(([card]) => card));
  }

  /** @param {any} now */
  show(now) {
    for (const [card, find] of this.cards) {
      const { tone, answer, more } = find(now);
      card.className = `card verdict is-${tone}`;
      fill(/** @type {Element} */ (card.lastElementChild),
        h("p", { class: `big${tone === "muted" ? "" : ` ${tone}`}` }, answer), more.map((line) => h("p", { class: "muted small" }, line)));
    }
  }
}
