/** Review: incidents as cards below a timeline, each with its clip and verdict. */

import { errorText, get, put, remove, subscribe, url } from "../api.js";
import { showText } from "../parts/copy.js";
import { fill, h } from "../parts/dom.js";
import { download } from "../parts/download.js";
import { iso } from "../parts/format.js";
import { help, keysButton, listen } from "../parts/keys.js";
import { toast, toastError } from "../parts/toast.js";
import { to } from "../router.js";
import { CardList, pictured } from "./cards.js";
import { Detail } from "./detail.js";
import { Filters } from "./filters.js";
import { fromAddress, spanOf, toApi } from "./query.js";
import { strings } from "./strings.js";
import { Timeline } from "./timeline.js";
import { countUnreviewed } from "./unreviewed.js";

/** @typedef {import("./query.js").Query} Query */
/** @typedef {import("./types.js").Card} Card */

const PAGE = 50;
const MOST = 500;
// Events come in bursts, and a system at work has some each second.
const SOON_MS = 300;
const REFRESH_MS = 1500;
const PARTS = 240;
// Pictures are never made larger than they are.
const LARGEST = 3840;

class Review {
  #ended = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #limit = PAGE;
  #opening = 0;
  #refreshes = 0;
  /** @type {string | null} */
  #next = null;

  /** @param {Query} query @param {import("../shell.js").Shell} shell */
  constructor(query, shell) {
    this.query = query;
    this.shell = shell;
    this.tally = h("p", { class: "muted", role: "status" });
    this.filters = new Filters((changed) => this.#change(changed));
    this.timeline = new Timeline((span) => this.#span(span), (camera, since, until) => void this.#pick(camera, since, until));
    this.list = new CardList((id) => void this.open(id), () => this.query);
    this.empty = h("p", { class: "empty", hidden: true }, strings.none);
    this.more = h("button", { type: "button", hidden: true, onclick: () => void this.#more() }, strings.more);
    this.detail = new Detail({
      close: () => this.close(), review: () => void this.review(), clip: () => this.clip(), picture: () => this.picture(), share: () => void this.share(),
    });
  }

  /** @param {HTMLElement} main */
  fill(main) {
    fill(main,
      h("div", { class: "head" }, h("div", { class: "row" }, h("h1", {}, strings.title), this.tally),
        keysButton(strings.keys)),
      this.filters.element, this.timeline.element,
      h("div", { class: "review" }, h("div", { class: "stack" }, this.list.element, this.empty, this.more), this.detail.element));
  }

  /** @returns {() => void} what ends it */
  begin() {
    const unsubscribe = subscribe({ kinds: ["incidents", "alerts", "verdicts", "cameras"] }, () => this.#soon(REFRESH_MS));
    const stopListening = listen({
      j: () => this.step(1), k: () => this.step(-1), r: () => void this.review(), space: () => this.detail.player?.toggle(),
      b: () => this.detail.player?.boxes(), d: () => this.clip(), p: () => this.picture(), l: () => void this.share(),
      esc: () => this.close(), "?": () => help(strings.keys),
    });
    return () => {
      this.#ended.abort();
      clearTimeout(this.#timer);
      unsubscribe();
      stopListening();
      this.timeline.end();
      this.detail.clear();
    };
  }

  async refresh() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const turn = ++this.#refreshes;
    const query = toApi(this.query, Date.now());
    const span = spanOf(this.query, Date.now());
    const signal = this.#ended.signal;
    const when = { since: iso(span.since), until: iso(span.until) };
    const [cards, tally, timeline] = await Promise.all([
      get("incidents", { ...query, limit: this.#limit }, signal), get("incidents/count", query, signal),
      get("timeline", { ...query, ...when, parts: PARTS, limit: 100 }, signal), countUnreviewed(this.shell)]);
    // A newer request has started: its answer is shown.
    if (turn !== this.#refreshes) return;
    this.#next = cards.next;
    this.list.show(cards.incidents);
    this.list.select(this.query["open"] ?? "");
    this.empty.hidden = cards.incidents.length > 0;
    this.more.hidden = !cards.next;
    this.timeline.show(timeline);
    fill(this.tally, strings.tally(tally.count, tally.unreviewed), tally.complete ? "" : ` · ${strings.reading}`);
    if (!tally.complete) this.#soon(REFRESH_MS);
    this.filters.show(this.query);
    this.filters.suggest("camera", timeline.rows.map((/** @type {any} */ row) => row.camera));
    this.filters.suggest("rule", cards.incidents.map((/** @type {Card} */ card) => card.rule));
    const changed = cards.incidents.find((/** @type {Card} */ card) => card.id === this.detail.details?.card.id);
    if (changed && JSON.stringify(changed) !== JSON.stringify(this.detail.details?.card)) await this.#updateDetail(changed.id);
  }

  /** Have the address say what is shown. */
  #setAddress() {
    history.replaceState(null, "", to("review", [], this.query));
  }

  /** @param {number} ms */
  #soon(ms) {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.refresh().catch((error) => toastError(error, this.#ended.signal));
    }, ms);
  }

  /** @param {Query} changed */
  #change(changed) {
    this.query = Object.fromEntries(Object.entries({ ...this.query, ...changed }).filter(([, value]) => value));
    this.#limit = PAGE;
    this.#setAddress();
    this.filters.show(this.query);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#soon(SOON_MS);
  }

  /** @param {import("./types.js").Span | null} span */
  #span(span) {
    if (!span) return this.#change({ range: "", since: "", until: "" });
    this.#change({ range: "", since: iso(span.since), until: iso(span.until) });
  }

  async #more() {
    this.#limit = Math.min(MOST, this.#limit + PAGE);
    if (this.list.cards.length < MOST) return this.refresh().catch((error) => toastError(error, this.#ended.signal));
    // The list is full: older incidents need an earlier end of the time.
    const last = this.list.cards.at(-1);
    if (last && this.#next) this.#span({ since: spanOf(this.query, Date.now()).since, until: Date.parse(last.start) + 1 });
  }

  /** Open an incident. @param {string} id @param {{at?: number, move?: boolean}} [how] */
  async open(id, { at = NaN, move = false } = {}) {
    const turn = ++this.#opening;
    this.query = { ...this.query, open: id };
    delete this.query["at"];
    this.#setAddress();
    this.list.select(id, move);
    try {
      const details = await get(`incidents/${id}`, {}, this.#ended.signal);
      if (turn !== this.#opening) return;
      this.detail.show(details, at);
      this.timeline.mark(details.card);
      // On a narrow screen the detail is above the list.
      if (matchMedia("(max-width: 1099px)").matches) this.detail.element.scrollIntoView();
    } catch (error) {
      if (turn === this.#opening && !this.#ended.signal.aborted) this.detail.clear(errorText(error));
    }
  }

  /** Reload the open incident. @param {string} id */
  async #updateDetail(id) {
    const details = await get(`incidents/${id}`, {}, this.#ended.signal);
    if (this.detail.details?.card.id === id) this.detail.update(details);
  }

  close() {
    this.#opening += 1;
    this.detail.clear();
    this.timeline.mark(null);
    this.list.select("");
    delete this.query["open"];
    this.#setAddress();
  }

  /** @param {number} by */
  step(by) {
    const next = this.list.beside(this.query["open"] ?? "", by);
    if (next) void this.open(next.id, { move: true });
    else if (by > 0 && this.#next) void this.#more();
  }

  async review() {
    const card = this.detail.details?.card;
    if (!card) return;
    try {
      if (card.reviewed) await remove(`incidents/${card.id}/reviewed`);
      else await put(`incidents/${card.id}/reviewed`);
      // The next one is that after this one as the list is now: where only those not reviewed are shown, this one goes.
      if (!card.reviewed) this.step(1);
      await this.refresh();
    } catch (error) {
      toastError(error, this.#ended.signal);
    }
  }

  clip() {
    const card = this.detail.details?.card;
    if (card?.video) download(url(`incidents/${card.id}/clip`, { download: true }));
  }

  picture() {
    const card = this.detail.details?.card;
    if (card && pictured(card)) download(url(`incidents/${card.id}/picture`, { download: true, width: LARGEST }));
  }

  /** A link to this incident, at the moment that is shown. */
  async share() {
    const card = this.detail.details?.card;
    if (!card) return;
    const at = iso(this.detail.player?.time ?? Date.parse(card.start));
    const link = new URL(to("review", [], { camera: card.camera, incident: card.incident, open: card.id, at }), document.baseURI).href;
    try {
      await navigator.clipboard.writeText(link);
      toast(strings.detail.shared);
    } catch {
      showText(strings.detail.link, "", link);
    }
  }

  /** @param {string} camera @param {number} since @param {number} until */
  async #pick(camera, since, until) {
    const query = { camera, since: iso(since), until: iso(until), limit: MOST };
    const { incidents } = await get("incidents", { ...toApi(this.query, Date.now()), ...query }, this.#ended.signal);
    const first = incidents.findLast((/** @type {Card} */ card) => Date.parse(card.start) >= since);
    if (first) await this.open(first.id, { move: true });
  }
}

/** @type {import("../shell.js").Show} */
export async function show(main, route, shell) {
  const query = fromAddress(route.query);
  // As other pages link to one.
  if (route.parts[0]) query["incident"] = route.parts[0];
  const page = new Review(query, shell);
  await page.refresh();
  page.fill(main);
  const end = page.begin();
  const { open, at, incident } = page.query;
  const first = open ?? (incident ? page.list.cards[0]?.id : undefined);
  if (first) void page.open(first, { at: Date.parse(at ?? "") });
  return end;
}
