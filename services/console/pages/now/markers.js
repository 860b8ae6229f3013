/** What happened in a range: incidents, cameras that went and came, outages and deployments, the latest first. */

import { errorText, get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { clock, iso } from "../parts/format.js";
import { mistakeLine } from "../parts/messages.js";
import { repeat } from "../parts/poll.js";
import { to } from "../router.js";
import { strings } from "./strings.js";

const texts = strings.charts;
const LATEST = 20;
const EVERY_MS = 10_000;
const HOUR_MS = 3_600_000;

/** @typedef {import("../parts/chart_draw.js").Marker & {type: string}} EventMarker */

export class Markers {
  constructor() {
    this.list = h("ul", { class: "markers" });
    this.more = h("p", { class: "muted small", hidden: true }, texts.moreMarkers);
    this.mistake = mistakeLine();
    this.element = h("section", { class: "stack", "aria-labelledby": "markers" }, h("h2", { id: "markers" }, texts.markers), this.mistake, this.list, this.more);
  }

  /** @param {any} reply what the API says of a range @returns {EventMarker[]} the same, for charts */
  draw(reply) {
    const markers = reply.markers.map(marker);
    fill(this.list, markers.length ? markers.slice(-LATEST).reverse().map(line) : h("li", { class: "muted" }, texts.noMarkers));
    this.more.hidden = !reply.next;
    return markers;
  }

  /** Follow the last hour. @param {AbortSignal} signal */
  async follow(signal) {
    await this.#load(signal);
    await repeat(() => this.#load(signal), EVERY_MS, signal);
  }

  /** @param {AbortSignal} signal */
  async #load(signal) {
    try {
      this.draw(await get("markers", { since: iso(Date.now() - HOUR_MS) }, signal));
      this.mistake.textContent = "";
    } catch (error) {
      if (!signal.aborted) this.mistake.textContent = errorText(error);
    }
  }
}

/** @param {any} m @returns {EventMarker} */
function marker(m) {
  const phrases = {
    incident: () => texts.marker.incident(m.camera, m.rule, m.what),
    camera: () => texts.marker.camera(m.camera, m.state, m.what),
    server: () => texts.marker.server,
    deployment: () => texts.marker.deployment(m.service, m.what),
  };
  const href = m.kind === "incident" ? to("review", [m.incident]) : m.kind === "camera" ? to("cameras", [m.camera]) : undefined;
  const until = m.kind === "server" ? Date.parse(m.until ?? iso(Date.now())) : undefined;
  const kind = m.severity === "critical" ? "critical" : m.kind;
  return { time: Date.parse(m.time), until, kind, type: m.kind, text: /** @type {any} */ (phrases)[m.kind](), href };
}

/** @param {EventMarker} m */
function line(m) {
  return h("li", {}, h("time", { dateTime: iso(m.time), class: "muted" }, clock(m.time)), " ",
    h("span", { class: "tag" }, texts.kinds[m.type] ?? m.type), " ", m.href ? h("a", { href: m.href }, m.text) : m.text);
}
