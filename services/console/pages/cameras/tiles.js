/** A tile for each camera. Tiles stay as they are while their cameras do, and load pictures only while they are seen. */

import { arrange, h, setText } from "../parts/dom.js";
import { duration, number } from "../parts/format.js";
import { to } from "../router.js";
import { Pictures } from "./pictures.js";
import { states, strings } from "./strings.js";

// Milliseconds between pictures while objects are detected, and while none are.
const BUSY_MS = 2000;
const IDLE_MS = 10_000;
// Visible tiles share the console's decoders.
const EACH_MS = 60;
// The longest pause between requests that fail.
const MOST_MS = 60_000;

export const DOTS = /** @type {Record<string, string>} */ ({
  online: "good", connecting: "warn", unreadable: "bad", offline: "bad", unusable: "bad", disabled: "",
});

export class Tiles {
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  #pictures = new Pictures();
  #visible = new Set();

  constructor() {
    this.element = h("ul", { class: "wall" });
    this.observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.#setVisible(/** @type {HTMLElement} */ (target).dataset.id ?? "", isIntersecting);
    }, { rootMargin: "200px" });
  }

  /** @param {any[]} cameras in their order */
  show(cameras) {
    const ids = new Set(cameras.map((c) => c.id));
    for (const [id, tile] of this.#tiles) if (!ids.has(id)) this.#remove(id, tile);
    arrange(this.element, cameras.map((camera) => {
      const tile = this.#tiles.get(camera.id) ?? this.#add(camera.id);
      tile.show(camera);
      return tile.element;
    }));
    this.#refresh();
  }

  end() {
    this.observer.disconnect();
    this.#pictures.end();
  }

  /** @param {string} id */
  #add(id) {
    const tile = new Tile(id);
    this.#tiles.set(id, tile);
    this.observer.observe(tile.element);
    return tile;
  }

  /** @param {string} id @param {Tile} tile */
  #remove(id, tile) {
    this.observer.unobserve(tile.element);
    this.#pictures.drop(id);
    this.#pictures.forget(tile.image);
    this.#visible.delete(id);
    this.#tiles.delete(id);
    tile.element.remove();
  }

  /** @param {string} id @param {boolean} isVisible */
  #setVisible(id, isVisible) {
    if (isVisible) this.#visible.add(id);
    else {
      this.#visible.delete(id);
      this.#pictures.drop(id);
    }
    this.#refresh();
  }

  #refresh() {
    const share = this.#visible.size * EACH_MS;
    for (const id of this.#visible) {
      const tile = this.#tiles.get(id);
      if (!tile?.isDue(share)) continue;
      tile.startLoading();
      const width = Math.round(tile.image.clientWidth * Math.min(2, devicePixelRatio)) || 320;
      this.#pictures.want(id, tile.image, Math.min(1280, Math.ceil(width / 160) * 160), (shown) => tile.finishLoading(shown));
    }
  }
}

class Tile {
  #requestMs = 0;
  #failed = 0;
  #isLoading = false;
  // The video's end at the shown picture, and at the one being loaded.
  #pictureEnd = "";
  #loadingEnd = "";
  /** @type {any} */
  #camera = {};

  /** @param {string} id */
  constructor(id) {
    this.image = h("img", { alt: strings.pictureOf(id), hidden: true });
    this.dot = h("span", { class: "dot" });
    this.state = h("span", { class: "small" });
    this.seen = h("span", { class: "small seen" });
    this.rates = h("span", { class: "small muted" });
    this.none = h("span", { class: "none small muted" }, strings.noPicture);
    this.element = h("li", { dataset: { id } },
      h("a", { class: "tile", href: to("cameras", [id]) },
        h("span", { class: "frame16" }, this.image, this.none),
        h("span", { class: "line" }, this.dot, h("strong", {}, id), this.state),
        h("span", { class: "line" }, this.seen, this.rates)));
  }

  /** @param {any} camera */
  show(camera) {
    this.#camera = camera;
    const seen = Object.entries(camera.seen).slice(0, 3).map(([label, n]) => `${n} ${label}`).join(", ");
    const rates = [camera.fps ? strings.fps(number(camera.fps, 0)) : "", camera.latency_ms === null ? "" : strings.later(duration(camera.latency_ms / 1000))];
    setText(this.state, states[camera.state] ?? camera.state);
    setText(this.seen, seen || (camera.state === "online" ? strings.nothingSeen : camera.reason));
    setText(this.rates, rates.filter(Boolean).join(" · "));
    const dot = `dot ${DOTS[camera.state] ?? ""}`;
    if (this.dot.className !== dot) this.dot.className = dot;
  }

  /** Whether there is newer video than its picture shows, and it is its turn. @param {number} share of all, ms */
  isDue(share) {
    if (this.#isLoading || !this.#camera.last || this.#camera.last === this.#pictureEnd) return false;
    const pause = Object.keys(this.#camera.seen ?? {}).length || !this.#pictureEnd ? BUSY_MS : IDLE_MS;
    return Date.now() - this.#requestMs > Math.max(share, Math.min(MOST_MS, pause * 2 ** this.#failed));
  }

  startLoading() {
    this.#isLoading = true;
    this.#requestMs = Date.now();
    this.#loadingEnd = this.#camera.last;
  }

  /** @param {boolean} shown */
  finishLoading(shown) {
    this.#isLoading = false;
    this.#failed = shown ? 0 : this.#failed + 1;
    if (!shown) return;
    this.#pictureEnd = this.#loadingEnd;
    this.image.hidden = false;
    this.none.hidden = true;
  }
}
