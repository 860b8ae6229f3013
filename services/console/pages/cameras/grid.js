/** Up to sixteen cameras live, side by side. */

import { subscribe } from "../api.js";
import { fill, h, setText } from "../parts/dom.js";
import { to } from "../router.js";
import { LiveView } from "./live.js";
import { strings } from "./strings.js";

const MOST = 16;

export class Grid {
  /** @type {Map<string, {live: LiveView, element: HTMLElement}>} */
  #shown = new Map();
  /** @type {() => void} */
  #stop = () => {};

  constructor() {
    this.note = h("p", { class: "small muted", role: "status" });
    this.list = h("ul", { class: "wall lives" });
    this.element = h("div", { class: "stack" }, this.note, this.list);
  }

  /** @param {any[]} cameras */
  show(cameras) {
    const first = cameras.filter((c) => c.state === "online").slice(0, MOST);
    const text = cameras.length > first.length ? strings.most(first.length, cameras.length) : "";
    setText(this.note, text);
    const stale = [...this.#shown.keys()].filter((id) => !first.some((now) => now.id === id));
    const fresh = first.filter((now) => !this.#shown.has(now.id));
    for (const id of stale) this.#remove(id);
    for (const now of fresh) this.#add(now.id);
    if (stale.length || fresh.length) this.#hear();
    for (const now of first) this.#shown.get(now.id)?.live.update(now);
  }

  end() {
    this.#stop();
    for (const id of [...this.#shown.keys()]) this.#remove(id);
    fill(this.list);
  }

  /** One stream of events for all that are shown. */
  #hear() {
    this.#stop();
    const cameras = [...this.#shown.keys()];
    this.#stop = cameras.length ? subscribe({ kinds: ["detections"], cameras }, (kind, event) => this.#shown.get(event.camera)?.live.take(kind, event)) : () => {};
  }

  /** @param {string} id */
  #add(id) {
    const live = new LiveView(id, false);
    const element = h("li", {}, live.element, h("a", { href: to("cameras", [id]) }, id));
    this.#shown.set(id, { live, element });
    this.list.append(element);
  }

  /** @param {string} id */
  #remove(id) {
    const entry = this.#shown.get(id);
    entry?.live.end();
    entry?.element.remove();
    this.#shown.delete(id);
  }
}
