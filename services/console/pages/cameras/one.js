/** One camera: what it shows now, how it does, and what may be done with it. */

import { get, subscribe } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { ago, duration, number } from "../parts/format.js";
import { repeat } from "../parts/poll.js";
import { toastError } from "../parts/toast.js";
import { to } from "../router.js";
import { enableCamera, removeCamera } from "./form.js";
import { LiveView } from "./live.js";
import { states, strings } from "./strings.js";
import { DOTS } from "./tiles.js";

const POLL_MS = 2000;

/** @param {HTMLElement} main @param {string} id @param {import("../shell.js").Shell} shell */
export async function showOne(main, id, shell) {
  const one = await get(`cameras/${id}`);
  const page = new OneCamera(main, id, shell);
  page.show(one);
  page.begin(one);
  return () => page.end();
}

class OneCamera {
  #ended = new AbortController();
  /** @type {() => void} */
  #stop = () => {};

  /** @param {HTMLElement} main @param {string} id @param {import("../shell.js").Shell} shell */
  constructor(main, id, shell) {
    this.id = id;
    this.shell = shell;
    this.facts = h("dl", { class: "facts" });
    this.state = h("p", { class: "row", role: "status" });
    this.actions = h("div", { class: "row" });
    this.live = new LiveView(id, true);
    this.inStep = h("input", { type: "checkbox", checked: true, onchange: () => (this.live.isSynced = this.inStep.checked) });
    fill(main,
      h("div", { class: "head" }, h("h1", {}, id), this.state, this.actions),
      h("div", { class: "one" },
        h("div", { class: "stack" }, this.live.element, h("label", { class: "row" }, this.inStep, strings.inStep)), h("section", { class: "card", "aria-label": strings.facts.state }, this.facts)));
  }

  /** @param {any} one */
  begin(one) {
    if (one.has_rules) void get(`cameras/${this.id}/rules`).then(({ rules }) => this.live.places(rules), () => {});
    this.#stop = subscribe({ kinds: ["detections", "tracks"], cameras: [this.id] }, (kind, event) => this.live.take(kind, event));
    void repeat(() => get(`cameras/${this.id}`).then((one) => this.show(one), () => {}), POLL_MS, this.#ended.signal);
  }

  end() {
    this.#ended.abort();
    this.#stop();
    this.live.end();
  }

  /** @param {any} one */
  show(one) {
    if (this.#ended.signal.aborted) return;
    const { now, settings } = one;
    this.live.update(now);
    fill(this.state, h("span", { class: `dot ${DOTS[now.state] ?? ""}` }), h("strong", {}, states[now.state] ?? now.state), h("span", { class: "muted" }, now.reason));
    const texts = strings.facts;
    const seen = Object.entries(now.seen).map(([label, n]) => `${n} ${label}`).join(", ");
    /** @type {[string, string | null][]} */
    const facts = [
      [texts.since, now.since && ago(now.since)],
      [texts.video, now.codec && `${now.codec} ${now.width}×${now.height}`],
      [texts.fps, now.fps ? number(now.fps) : null],
      [texts.latency, now.latency_ms === null ? null : duration(now.latency_ms / 1000)],
      [texts.last, now.last && ago(now.last)],
      [texts.seen, seen || null],
      [texts.analysed, settings && (settings.fps ? strings.fps(number(settings.fps)) : strings.byService)],
      [texts.url, settings?.url],
      [texts.detect, settings?.detect],
      [texts.model, settings?.model],
      [texts.credentials, one.has_credentials === null ? null : one.has_credentials ? strings.has : strings.hasNone],
      [texts.rules, one.has_rules ? strings.hasRules : strings.hasNoRules],
    ];
    fill(this.facts, ...facts.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    this.#act(settings);
  }

  /** @param {any} settings */
  #act(settings) {
    const enabled = settings?.enabled ?? true;
    const key = String(enabled);
    if (this.actions.dataset.enabled === key) return;
    this.actions.dataset.enabled = key;
    const may = this.shell.may("operator");
    fill(this.actions,
      h("a", { class: "button", href: to("cameras") }, strings.all),
      h("a", { class: "button", href: to("review", [], { camera: this.id }) }, strings.review),
      h("a", { class: "button", href: to("recordings", [this.id]) }, strings.recordings),
      h("a", { class: "button", href: to("cameras", [this.id, "rules"]) }, strings.rules),
      may ? h("a", { class: "button", href: to("cameras", [this.id, "settings"]) }, strings.edit) : null,
      may ? h("button", { type: "button", onclick: () => void this.#do(() => enableCamera(this.id, !enabled)) }, enabled ? strings.disable : strings.enable) : null,
      may ? h("button", { type: "button", class: "danger", onclick: () => void this.#do(() => removeCamera(this.id)) }, strings.remove) : null);
  }

  /** @param {() => Promise<void>} work */
  async #do(work) {
    try {
      await work();
      this.show(await get(`cameras/${this.id}`));
    } catch (error) {
      toastError(error, this.#ended.signal);
    }
  }
}
