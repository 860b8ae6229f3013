/** What each service is scaled by now: the terms of its demand as bars, and in sentences. */

import { fill, h, svg } from "../parts/dom.js";
import { duration, number } from "../parts/format.js";
import { strings } from "./strings.js";

const texts = strings.now;
/** The terms in replicas, in the order of the sum. Those of LEFT_OUT_AT_0 are hidden at 0. */
const BARS = ["arrival_replicas", "backlog_replicas", "due_replicas", "held_replicas", "replicas", "ready", "warming"];
const LEFT_OUT_AT_0 = ["due_replicas", "held_replicas", "warming"];

/**
 * @param {HTMLElement} place
 * @param {any} reply what `GET /scaling` answers
 */
export function services(place, reply) {
  const open = new Set([...place.querySelectorAll("details[open]")].map((d) => /** @type {HTMLElement} */ (d).dataset.key));
  const focused = place.contains(document.activeElement) && document.activeElement?.closest("details")?.dataset.key;
  fill(place, h("div", { class: "grid scaling-services" }, reply.services.map(service)), h("p", { class: "small muted" }, reply.bounds));
  for (const details of place.querySelectorAll("details")) {
    details.open = open.has(details.dataset.key);
    if (focused && details.dataset.key === focused) details.querySelector("summary")?.focus({ preventScroll: true });
  }
}

/** @param {any} each */
function service(each) {
  const current = each.queries.find((/** @type {any} */ q) => q.is_current);
  return h("article", { class: "card" },
    h("div", { class: "row" }, h("h3", {}, each.service), h("span", { class: "tag" }, texts.policies[each.policy] ?? each.policy)),
    h("p", {}, each.sentence),
    current && bars(current.explanation.terms),
    current && h("ul", { class: "sentences small" }, current.explanation.lines.map((/** @type {string} */ line) => h("li", {}, line))),
    each.queries.map((/** @type {any} */ query) => queryDetails(each.service, query)));
}

/** @param {Record<string, any>} terms */
function bars(terms) {
  const shown = BARS.filter((name) => Number.isFinite(terms[name]) && (terms[name] || !LEFT_OUT_AT_0.includes(name)));
  const values = shown.map((name) => terms[name]);
  const least = Math.min(0, ...values);
  const most = Math.max(1, ...values);
  return h("dl", { class: "bars" }, shown.map((name) => [
    h("dt", {}, texts.terms[name] ?? name),
    h("dd", {}, bar(name, terms[name], least, most), h("span", {}, replicas(terms[name]))),
  ]).flat());
}

/**
 * @param {string} name
 * @param {number} value
 * @param {number} least
 * @param {number} most
 */
function bar(name, value, least, most) {
  const at = (/** @type {number} */ n) => ((n - least) / (most - least)) * 100;
  const from = Math.min(at(0), at(value));
  const kind = name === "replicas" ? "sum" : value < 0 ? "less" : "more";
  return svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": texts.barLabel(texts.terms[name] ?? name, replicas(value)) },
    svg("rect", { class: kind, x: from, y: 1, width: value ? Math.max(0.5, Math.abs(at(value) - at(0))) : 0, height: 8 }),
    svg("line", { x1: at(0), x2: at(0), y1: 0, y2: 10 }));
}

/** What is a little below 0 is 0. @param {number} n */
function replicas(n) {
  return number(Math.round(n * 100) / 100 + 0, 2);
}

/** @param {string} service @param {any} query */
function queryDetails(service, query) {
  const e = query.explanation;
  const title = query.is_current ? `${texts.settings}, ${texts.by(query.by)}` : texts.before(duration(e.asked_s));
  const rows = (/** @type {Record<string, any>} */ of) =>
    h("dl", { class: "pairs small" }, Object.entries(of).map(([name, value]) => [h("dt", {}, name), h("dd", {}, text(value))]).flat());
  return h("details", { dataset: { key: `${service}/${query.by}/${JSON.stringify(query.trigger)}` } },
    h("summary", {}, title), rows(query.trigger), h("h4", {}, texts.terms_all), rows(e.terms));
}

/** @param {any} value */
function text(value) {
  if (typeof value === "boolean") return value ? texts.yes : texts.no;
  return typeof value === "number" ? number(value, 3) : String(value ?? "–");
}
