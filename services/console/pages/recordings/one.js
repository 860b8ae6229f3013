/** The recordings of one camera: a day of it, played, and a part of it saved. */

import { get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { iso } from "../parts/format.js";
import { help, keysButton, listen } from "../parts/keys.js";
import { poll } from "../parts/poll.js";
import { replaceQuery, to } from "../router.js";
import { Calendar } from "./calendar.js";
import { ReanalysisCommand } from "./command.js";
import { dayOf, daysOf, spanOf, stretchAt } from "./days.js";
import { Export } from "./export.js";
import { empty, facts, Gaps } from "./facts.js";
import { LITTLE, Player, STEP } from "./player.js";
import { DayReader } from "./reader.js";
import { strings } from "./strings.js";
import { Timeline } from "./timeline.js";

/** @typedef {import("./types.js").Hours} Hours */
/** @typedef {import("./types.js").Span} Span */
/** @typedef {import("./painting.js").Data} Data */

const EVERY_MS = 20_000;
/** Keys come faster than video. */
const SOON_MS = 150;
/** @type {Data} */
const NOTHING = { stretches: [], gaps: [], marks: [] };

/** @param {HTMLElement} main @param {string} camera @param {URLSearchParams} query */
export async function showOne(main, camera, query) {
  const page = new OneCamera(main, camera, query);
  try {
    const end = await poll((signal) => page.refresh(signal), EVERY_MS);
    return () => {
      end();
      page.end();
    };
  } catch (error) {
    page.end();
    throw error;
  }
}

class OneCamera {
  #ended = new AbortController();
  /** @type {Hours | null} */
  #hours = null;
  /** @type {Data} */
  #data = NOTHING;
  #day = "";
  #timer = 0;
  #reads = 0;
  /** @type {(() => void) | null} */
  #stopListening = null;

  /** @param {HTMLElement} main @param {string} camera @param {URLSearchParams} query */
  constructor(main, camera, query) {
    this.main = main;
    this.camera = camera;
    this.#query = query;
    this.#reader = new DayReader(camera, this.#ended.signal);
    this.calendar = new Calendar((day) => this.#open(day));
    this.timeline = new Timeline((time) => this.#seek(time), (span) => this.exported.choose(span));
    this.player = new Player(camera, (time) => this.timeline.point(time), (hole) => this.#why(hole));
    this.command = new ReanalysisCommand(camera);
    this.exported = new Export(camera, () => this.player.time, (span) => this.#choose(span));
    this.gaps = new Gaps();
    this.nothing = h("p", { class: "empty", hidden: true }, strings.none.day);
    this.facts = h("section", { class: "recordings-facts card", "aria-label": strings.facts.title });
    this.others = h("select", { onchange: () => (location.hash = to("recordings", [this.others.value])) });
  }

  #query;
  #reader;

  #fill() {
    fill(this.main,
      h("div", { class: "head" }, h("h1", {}, strings.of(this.camera)),
        h("div", { class: "row" }, h("label", { class: "recordings-camera" }, strings.camera, this.others),
          h("a", { class: "button", href: to("recordings") }, strings.all),
          h("a", { class: "button", href: to("cameras", [this.camera]) }, strings.live),
          h("a", { class: "button", href: to("review", [], { camera: this.camera }) }, strings.review),
          keysButton(strings.keys))),
      h("div", { class: "recordings" },
        this.calendar.element,
        h("div", { class: "stack day-of" }, this.timeline.element, this.nothing,
          h("div", { class: "recordings-watch" }, this.player.element, h("div", { class: "stack" }, this.exported.element, this.command.element, this.gaps.element))),
        this.facts));
  }

  /** @param {AbortSignal} signal */
  async refresh(signal) {
    /** @type {Hours} */
    const hours = await get(`recordings/${encodeURIComponent(this.camera)}`, {}, signal);
    if (!this.others.options.length) this.#name(await get("recordings", {}, signal));
    if (this.#ended.signal.aborted) return;
    this.#hours = hours;
    if (!hours.hours.some(({ seconds }) => seconds)) return this.#without();
    if (!this.#stopListening) this.#begin();
    fill(this.facts, h("h2", {}, strings.facts.title), facts(hours.of));
    if (this.#day) await this.#read();
    else await this.#open(this.#first(hours), Date.parse(this.#query.get("at") ?? ""));
  }

  end() {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#stopListening?.();
    this.player.close();
    this.timeline.end();
  }

  #without() {
    fill(this.main, h("div", { class: "head" }, h("h1", {}, strings.of(this.camera)), h("a", { class: "button", href: to("recordings") }, strings.all)),
      empty(strings.facts.nothing, strings.none.camera(this.camera), strings.none.policy(this.camera)));
  }

  #begin() {
    this.#fill();
    const step = (/** @type {number} */ by) => () => this.player.step(by);
    this.#stopListening = listen({
      space: () => this.player.toggle(), j: step(-STEP), l: step(STEP), ",": step(-LITTLE), ".": step(LITTLE),
      i: () => this.exported.from(), o: () => this.exported.until(), "?": () => help(strings.keys),
      "+": () => this.timeline.zoom(1), "=": () => this.timeline.zoom(1), "-": () => this.timeline.zoom(-1),
    });
  }

  /** @param {{cameras: {camera: string}[]}} all that are recorded */
  #name({ cameras }) {
    const names = [...new Set([...cameras.map(({ camera }) => camera), this.camera])].sort();
    fill(this.others, names.map((name) => h("option", { value: name, selected: name === this.camera }, name)));
  }

  /** The day that the address asks for, or the newest with recordings. @param {Hours} hours */
  #first({ hours }) {
    const at = Date.parse(this.#query.get("at") ?? "");
    const day = this.#query.get("day") ?? (Number.isNaN(at) ? "" : dayOf(at));
    return spanOf(day) ? day : dayOf(Date.parse(hours.findLast(({ seconds }) => seconds)?.hour ?? iso(Date.now())));
  }

  /** @param {string} day @param {number} [at] the moment to begin with; else the first that there is */
  async #open(day, at = NaN) {
    const span = spanOf(day);
    if (!span || !this.#hours) return;
    this.#day = day;
    this.#setAddress({ day });
    this.player.open(span);
    this.#data = NOTHING;
    await this.#read();
    const first = stretchAt(this.#data.stretches, Number.isNaN(at) ? span.since : at);
    if (this.#day === day && first) this.player.seek(Number.isNaN(at) ? first.since : at);
  }

  /** Load the day's recordings. */
  async #read() {
    const [hours, day, span] = [this.#hours?.hours ?? [], this.#day, spanOf(this.#day)];
    if (!span) return;
    const turn = ++this.#reads;
    const isNew = this.#data === NOTHING;
    this.calendar.show(daysOf(hours), day);
    const data = await this.#reader.read(hours, span, (whole) => turn === this.#reads && isNew && this.#take(span, whole));
    if (turn !== this.#reads) return;
    this.#take(span, data);
    this.nothing.hidden = data.stretches.length > 0;
  }

  /** @param {Span} day @param {Data} data */
  #take(day, data) {
    this.#data = data;
    const of = this.#hours?.of;
    this.timeline.show(day, data);
    this.player.setStretches(data.stretches);
    this.gaps.show(data.gaps);
    this.exported.setDay(day, data.stretches, of?.seconds ? of.bytes / of.seconds : 0);
  }

  /** @param {Span | null} span */
  #choose(span) {
    this.timeline.mark(span);
    this.command.show(span ?? spanOf(this.#day));
  }

  /** @param {number} time */
  #seek(time) {
    this.timeline.point(time);
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      this.player.seek(time);
      this.#setAddress({ day: this.#day, at: iso(time) });
    }, SOON_MS);
  }

  /** Have the address say what is shown. @param {Record<string, string>} query */
  #setAddress(query) {
    if (!this.#ended.signal.aborted) replaceQuery(query);
  }

  /** @param {Span} hole */
  #why(hole) {
    const gap = this.#data.gaps.find(({ since, until }) => since < hole.until && until > hole.since);
    return gap ? strings.causes[gap.cause] : strings.player.unknown;
  }
}
