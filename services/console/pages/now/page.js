/** Now: what is late, how many GPUs run and why, what needs attention. */

import { errorText, get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { mistakeLine } from "../parts/messages.js";
import { repeat } from "../parts/poll.js";
import { to } from "../router.js";
import { Cameras } from "./cameras.js";
import { Charts } from "./charts.js";
import { Markers } from "./markers.js";
import { Services } from "./services.js";
import { strings } from "./strings.js";
import { phrase, Verdicts } from "./verdict.js";

const EVERY_MS = 2000;

/** @type {import("../shell.js").Show} */
export async function show(main, route, shell) {
  const end = new AbortController();
  const first = await get("now", {}, end.signal);
  const parts = shell.me.cameras === null ? whole(route.query, end.signal) : some(end.signal);
  const time = h("span", { class: "muted small" });
  const mistake = mistakeLine();
  main.classList.add("now");
  fill(main, h("div", { class: "head" }, h("h1", {}, strings.title), time), mistake, parts.map((part) => part.element));
  const take = (/** @type {any} */ now) => {
    time.textContent = strings.asOf(clock(now.time));
    mistake.textContent = "";
    for (const part of parts) part.show?.(now);
    shell.count("now", now.attention.length);
  };
  take(first);
  void repeat(() => get("now", {}, end.signal).then(take, (error) => {
    if (!end.signal.aborted) mistake.textContent = `${strings.stale} ${errorText(error)}`;
  }), EVERY_MS, end.signal);
  return () => end.abort();
}

/** @typedef {{element: HTMLElement, show?: (now: any) => void}} Part */

/** @param {URLSearchParams} query @param {AbortSignal} signal @returns {Part[]} */
function whole(query, signal) {
  const charts = new Charts(query, signal);
  return [new Verdicts(), new Attention(), new Services((service) => charts.choose(service)), charts, new Cameras()];
}

/** What services do is of all cameras together: who sees some alone is shown these. @param {AbortSignal} signal @returns {Part[]} */
function some(signal) {
  const markers = new Markers();
  void markers.follow(signal);
  return [new Attention(), new Cameras(), markers];
}

/** What needs attention, with a link to the page for it. */
class Attention {
  constructor() {
    this.list = h("ul", { class: "needs" });
    this.element = h("section", { "aria-label": strings.attention.title, hidden: true }, this.list);
    this.shown = "";
  }

  /** @param {any} now */
  show(now) {
    const lines = now.attention.map((/** @type {any} */ a) => [a, phrase(a)]);
    const shown = JSON.stringify(lines.map((/** @type {[any, string]} */ [a, text]) => [a.severity, text]));
    // An unchanged list stays as it is, with its focus.
    if (shown === this.shown) return;
    this.shown = shown;
    this.element.hidden = !lines.length;
    fill(this.list, lines.map((/** @type {[any, string]} */ [a, text]) => {
      const tone = a.severity === "critical" ? "bad" : "warn";
      const severity = strings.attention.severity[/** @type {"critical" | "warning"} */ (a.severity)];
      return h("li", {}, h("span", { class: `tag ${tone}` }, severity), " ", a.camera ? h("a", { href: to("cameras", [a.camera]) }, text) : text);
    }));
  }
}
