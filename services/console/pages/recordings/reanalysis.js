/** The runs of `tidegate reanalyze`, and their progress. */

import { get, subscribe } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { figures } from "../parts/facts.js";
import { clock, number, percent } from "../parts/format.js";
import { poll } from "../parts/poll.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").ReanalysisRun} ReanalysisRun */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").RunList} RunList */

const texts = strings.runs;
/** A run that falls silent sends no event: poll. */
const EVERY_MS = 15_000;
const SOON_MS = 200;
const MOST_CAMERAS = 5;
const TONES = { looking: "", following: "", captioning: "", done: "good", stopped: "warn", failed: "bad", silent: "warn" };

export class ReanalysisRuns {
  #shown = "";
  #timer = 0;
  /** @type {(() => void)[]} */
  #ends = [];

  constructor() {
    this.body = h("div", { class: "stack" });
    this.element = h("section", { class: "stack", "aria-labelledby": "recordings-runs-title" }, h("h2", { id: "recordings-runs-title" }, texts.title), this.body);
  }

  async follow() {
    this.#ends = [await poll((signal) => this.#load(signal), EVERY_MS), subscribe({ kinds: ["runs"] }, () => this.#soon())];
  }

  end() {
    clearTimeout(this.#timer);
    for (const end of this.#ends) end();
  }

  #soon() {
    clearTimeout(this.#timer);
    // An error is ignored: the next poll retries.
    this.#timer = window.setTimeout(() => void this.#load().catch(() => {}), SOON_MS);
  }

  /** @param {AbortSignal} [signal] */
  async #load(signal) {
    /** @type {RunList} */
    const list = await get("runs", {}, signal);
    const now = JSON.stringify(list);
    if (now === this.#shown) return;
    this.#shown = now;
    fill(this.body,
      list.unusable.map(({ run, mistake }) => h("p", { class: "mistake" }, texts.unusable(run, mistake))),
      list.runs.length ? h("ul", { class: "recordings-runs" }, list.runs.map(card)) : nothing());
  }
}

function nothing() {
  return h("div", { class: "empty stack" }, h("p", {}, texts.none), h("p", {}, h("code", {}, texts.command)));
}

/** @param {ReanalysisRun} run */
function card({ of, heard }) {
  const state = heard ? of.state : "silent";
  // Captions start once all frames are analysed.
  const [done, all] = of.captions && of.frames_done === of.frames ? [of.captions_done, of.captions] : [of.frames_done, of.frames];
  const share = all ? done / all : 1;
  return h("li", { class: "card" },
    h("div", { class: "head" }, h("h3", { class: "mono" }, of.run), h("span", { class: `tag ${TONES[state]}` }, texts.states[state])),
    h("p", { class: "small" }, texts.of(cameras(of.cameras), clock(of.since), clock(of.until))),
    h("progress", { max: 1, value: share, "aria-label": texts.progress(of.run) }),
    h("p", {}, pace(of, state, share)),
    of.reason ? h("p", { class: "mistake" }, of.reason) : null,
    figures(facts(of)),
    state === "stopped" || state === "failed" || state === "silent"
      ? h("p", { class: "small" }, texts.resume, " ", h("code", {}, `tidegate reanalyze --resume ${quote(of.output)}`)) : null);
}

/** @param {Run} of @param {keyof typeof TONES} state @param {number} share */
function pace(of, state, share) {
  const going = state === "looking" && of.frames_per_s ? [texts.rate(number(of.frames_per_s))] : [];
  const ends = (state === "looking" || state === "captioning") && of.ends ? [texts.ends(clock(of.ends))] : [];
  return [percent(share), ...going, ...ends, ...(state === "silent" ? [texts.silent(clock(of.updated))] : [])].join(", ");
}

/** @param {Run} of @returns {[string, string][]} */
function facts(of) {
  const row = texts.facts;
  return [
    [row.pieces, texts.share(number(of.pieces_done), number(of.pieces))], [row.frames, texts.share(number(of.frames_done), number(of.frames))],
    ...captions(of), [row.tracks, number(of.tracks)], [row.incidents, number(of.incidents)],
    [row.model, of.fps ? texts.model(of.model, number(of.fps)) : of.model], [row.by, texts.by(of.engine, of.host)],
    [row.began, clock(of.began)], [row.output, of.output],
  ];
}

/** @param {Run} of @returns {[string, string][]} */
function captions({ captions: all, captions_done: done }) {
  return all ? [[texts.facts.captions, texts.share(number(done), number(all))]] : [];
}

/** @param {string[]} all */
function cameras(all) {
  const shown = all.slice(0, MOST_CAMERAS).join(", ");
  return all.length > MOST_CAMERAS ? texts.more(shown, all.length - MOST_CAMERAS) : shown;
}

/** Quote for a shell. @param {string} text */
function quote(text) {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
