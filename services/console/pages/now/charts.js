/** The history of a service: six charts on one time axis, with events and a range to zoom into. */

import { errorText, get } from "../api.js";
import { Chart } from "../parts/chart.js";
import { fill, h } from "../parts/dom.js";
import { clock, iso } from "../parts/format.js";
import { mistakeLine } from "../parts/messages.js";
import { repeat } from "../parts/poll.js";
import { replaceQuery } from "../router.js";
import { Markers } from "./markers.js";
import { strings } from "./strings.js";

const texts = strings.charts;
const EVERY_MS = 10_000;
// The API has no points closer than this.
const LEAST_MS = 60_000;

/** @typedef {{title: string, unit: string, series: {name: string, color: number, steps?: boolean, fill?: boolean, dashed?: boolean}[]}} Plan */
/** @type {Plan[]} */
const PLANS = [
  { title: texts.flow, unit: texts.units.perSecond, series: [{ name: "arriving", color: 1, fill: true }, { name: "clearing", color: 3 }] },
  { title: texts.replicas, unit: texts.units.replicas, series: [
    { name: "busy", color: 1, fill: true }, { name: "ready", color: 6, steps: true }, { name: "warming", color: 2, steps: true },
    { name: "wanted", color: 5, steps: true, dashed: true }] },
  { title: texts.waiting, unit: texts.units.messages, series: [{ name: "pending", color: 4, fill: true }, { name: "in_flight", color: 3 }] },
  { title: texts.age, unit: texts.units.seconds, series: [{ name: "age_s", color: 4, fill: true }] },
  { title: texts.less, unit: texts.units.perSecond, series: [{ name: "deferred", color: 2, fill: true }, { name: "made_good", color: 6 }] },
  { title: texts.cost, unit: texts.units.perHour, series: [{ name: "cost", color: 5, fill: true }] },
];

export class Charts {
  /** @param {URLSearchParams} query what the address says @param {AbortSignal} end ends it */
  constructor(query, end) {
    this.end = end;
    this.service = query.get("service") ?? "cv";
    this.range = query.get("range") ?? "3600";
    /** @type {{since: number, until: number} | null} */
    this.part = part(query);
    this.charts = PLANS.map((plan) => this.#chart(plan));
    this.services = h("select", { "aria-label": texts.service, onchange: () => this.choose(this.services.value) });
    this.ranges = h("select", { "aria-label": texts.range, onchange: () => this.#whole(this.ranges.value) });
    this.follow = h("button", { type: "button", onclick: () => this.#whole(this.range) }, texts.live);
    this.source = h("p", { class: "muted small" });
    this.mistake = mistakeLine();
    this.markers = new Markers();
    this.element = h("section", { class: "stack", "aria-labelledby": "history" },
      h("div", { class: "head" }, h("h2", { id: "history" }, texts.title), h("div", { class: "row controls" }, this.services, this.ranges, this.follow)),
      this.mistake, h("div", { class: "charts" }, this.charts.map((chart) => h("div", { class: "card" }, chart))), this.source,
      this.markers.element);
    this.#options();
    void this.#run();
  }

  /** Whose history is shown. @param {string} service */
  choose(service) {
    this.service = service;
    this.#options();
    this.#changed();
  }

  /** Which services there are to choose from. @param {any} now */
  show(now) {
    const names = now.services.map((/** @type {any} */ service) => service.name);
    const options = [...this.services.options].map((option) => option.value);
    if (!names.includes(this.service)) names.push(this.service);
    if (names.join() !== options.join()) fill(this.services, names.map((/** @type {string} */ name) => h("option", { value: name }, name)));
    this.services.value = this.service;
  }

  /** @param {Plan} plan */
  #chart(plan) {
    const chart = new Chart();
    chart.title = plan.title;
    chart.addEventListener("cursor", (event) => this.charts.forEach((one) => one !== chart && one.point(/** @type {CustomEvent} */ (event).detail.at)));
    chart.addEventListener("zoom", (event) => this.#zoom(/** @type {CustomEvent} */ (event).detail));
    chart.addEventListener("reset", () => this.#whole(this.range));
    return chart;
  }

  #options() {
    const all = Object.entries(texts.ranges).map(([seconds, text]) => h("option", { value: seconds }, text));
    fill(this.ranges, all, this.part ? h("option", { value: "part" }, texts.closer) : null);
    this.ranges.value = this.part ? "part" : this.range;
    this.follow.disabled = !this.part;
  }

  /** @param {{since: number, until: number}} range */
  #zoom({ since, until }) {
    const middle = (since + until) / 2;
    const half = Math.max(LEAST_MS, until - since) / 2;
    const end = Math.min(Date.now(), middle + half);
    this.part = { since: Math.max(0, Math.min(middle - half, end - LEAST_MS)), until: end };
    this.#changed();
  }

  /** @param {string} range */
  #whole(range) {
    if (range === "part") return;
    this.range = range;
    this.part = null;
    this.#changed();
  }

  #changed() {
    this.#options();
    const { service, range } = this;
    replaceQuery({ service, range, ...(this.part ? { since: iso(this.part.since), until: iso(this.part.until) } : {}) });
    void this.#load();
  }

  async #run() {
    await this.#load();
    // A range in the past does not change.
    await repeat(() => this.part || this.#load(), EVERY_MS, this.end);
  }

  async #load() {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    const signal = AbortSignal.any([loading.signal, this.end]);
    const until = this.part?.until ?? Date.now();
    const range = { since: iso(this.part?.since ?? until - Number(this.range) * 1000), until: iso(until) };
    try {
      const [history, markers] = await Promise.all([get("history", { service: this.service, ...range }, signal), get("markers", range, signal)]);
      this.#draw(history, markers);
      this.mistake.textContent = history.problem;
    } catch (error) {
      if (!signal.aborted) this.mistake.textContent = errorText(error);
    }
  }

  /** @param {any} history @param {any} reply */
  #draw(history, reply) {
    const markers = this.markers.draw(reply);
    const grid = { since: Date.parse(history.since), step: history.step_s * 1000, points: history.series.arriving.length };
    this.charts.forEach((chart, i) => {
      const plan = /** @type {Plan} */ (PLANS[i]);
      const hasData = plan.series.some(({ name }) => history.series[name].some((/** @type {number | null} */ value) => value !== null));
      /** @type {HTMLElement} */ (chart.parentElement).hidden = !hasData && i > 0;
      chart.show({ ...grid, unit: plan.unit, markers, series: plan.series.map((series) => ({ ...series, label: texts.series[series.name] ?? series.name, values: history.series[series.name] })) });
    });
    const began = history.known_since ? texts.ring(clock(history.known_since)) : texts.ringNothing;
    this.source.textContent = history.source === "ring" ? began : texts.prometheus;
  }
}

/** What the address says of a part. @param {URLSearchParams} query */
function part(query) {
  const [since, until] = [Date.parse(query.get("since") ?? ""), Date.parse(query.get("until") ?? "")];
  return since < until ? { since, until } : null;
}
