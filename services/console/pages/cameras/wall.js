/** All cameras at a glance: the newest picture of each, how it does, and what is seen. */

import { allCameras } from "../parts/cameras.js";
import { fill, h, setText } from "../parts/dom.js";
import { emptyNote } from "../parts/messages.js";
import { repeat } from "../parts/poll.js";
import { replaceQuery, to } from "../router.js";
import { Grid } from "./grid.js";
import { states, strings } from "./strings.js";
import { Tiles } from "./tiles.js";

const POLL_MS = 2000;

/** @type {import("../shell.js").Show} */
export async function showWall(main, route, shell) {
  const wall = new Wall(main, route, shell);
  await wall.load();
  wall.begin();
  return () => wall.end();
}

class Wall {
  /** @type {any[]} */
  #cameras = [];
  /** @type {Tiles | Grid | null} */
  #shown = null;
  #ended = new AbortController();

  /**
   * @param {HTMLElement} main
   * @param {import("../router.js").Route} route
   * @param {import("../shell.js").Shell} shell
   */
  constructor(main, route, shell) {
    this.text = h("input", { type: "search", value: route.query.get("text") ?? "", placeholder: strings.findHint, oninput: () => this.#filter() });
    this.state = h("select", { onchange: () => this.#filter() },
      h("option", { value: "" }, strings.anyState),
      Object.entries(states).map(([value, name]) => h("option", { value, selected: value === route.query.get("state") }, name)));
    this.live = h("input", { type: "checkbox", checked: route.query.has("live"), onchange: () => this.#filter() });
    this.counted = h("p", { class: "muted", role: "status" });
    this.place = h("div", { class: "stack" });
    fill(main,
      h("div", { class: "head" }, h("h1", {}, strings.title), this.counted,
        shell.may("operator") && shell.me.cameras === null ? h("a", { class: "button primary", href: to("cameras", [], { add: 1 }) }, strings.add) : null),
      h("div", { class: "row filters" },
        h("label", { class: "field" }, strings.find, this.text),
        h("label", { class: "field" }, strings.state, this.state),
        h("label", { class: "row" }, this.live, strings.live)),
      this.place);
  }

  begin() {
    // An error is ignored: the shell says when the console is away.
    void repeat(() => this.load().catch(() => {}), POLL_MS, this.#ended.signal);
  }

  end() {
    this.#ended.abort();
    this.#shown?.end();
  }

  /** Ask how all cameras do, and show it. */
  async load() {
    this.#cameras = await allCameras(this.#ended.signal);
    if (!this.#ended.signal.aborted) this.#render();
  }

  #filter() {
    replaceQuery({ text: this.text.value, state: this.state.value, live: this.live.checked ? 1 : "" });
    this.#render();
  }

  #matching() {
    const text = this.text.value.trim().toLowerCase();
    const state = this.state.value;
    const has = (/** @type {string} */ part) => part.toLowerCase().includes(text);
    return this.#cameras.filter((c) => (!state || c.state === state) && (!text || has(c.id) || Object.keys(c.seen).some(has)));
  }

  #render() {
    const matching = this.#matching();
    const online = matching.filter((c) => c.state === "online").length;
    const count = strings.counted(matching.length, online);
    setText(this.counted, count);
    const kind = this.live.checked ? Grid : Tiles;
    if (!matching.length) {
      this.#shown?.end();
      this.#shown = null;
      return fill(this.place, emptyNote(this.#cameras.length ? strings.noMatch : strings.none));
    }
    if (!(this.#shown instanceof kind)) {
      this.#shown?.end();
      this.#shown = new kind();
      fill(this.place, this.#shown.element);
    }
    this.#shown.show(matching);
  }
}
