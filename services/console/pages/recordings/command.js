/** The command that reanalyzes the shown or chosen time, to copy. */

import { copy } from "../parts/copy.js";
import { h, setText } from "../parts/dom.js";
import { iso } from "../parts/format.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Span} Span */

const texts = strings.command;

export class ReanalysisCommand {
  /** @param {string} camera */
  constructor(camera) {
    this.#camera = camera;
    this.command = h("pre", { class: "command" });
    this.element = h("section", { class: "recordings-command card", "aria-label": texts.title }, h("h2", {}, texts.title), h("p", { class: "small" }, texts.help),
      this.command, h("div", { class: "row" }, h("button", { type: "button", onclick: () => void copy(this.command) }, texts.copy)));
  }

  #camera;

  /** @param {Span | null} span */
  show(span) {
    const text = span ? commandFor(this.#camera, span) : "";
    // A changed text would lose its selection.
    setText(this.command, text);
  }
}

/** @param {string} camera @param {Span} span */
function commandFor(camera, { since, until }) {
  return `tidegate reanalyze --camera ${camera} --since ${instant(since)} --until ${instant(until)}`;
}

/** To the second, of no zone of this browser's. @param {number} time */
function instant(time) {
  return iso(time).replace(/\.\d+Z$/, "Z");
}
