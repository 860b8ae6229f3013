/** What a comparison found: mistakes at their lines, or changes, what stays, and what may be removed. */

import { fill, h, setText } from "../parts/dom.js";
import { selectLine } from "../parts/lines.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Compared} Compared */
/** @typedef {import("./types.js").Mistake} Mistake */
/** @typedef {import("./types.js").Change} Change */

const COLOURS = { add: "good", change: "warn", remove: "bad" };

export class Result {
  /** @param {HTMLTextAreaElement} area @param {() => void} compare @param {() => void} apply */
  constructor(area, compare, apply) {
    this.#area = area;
    this.#compare = compare;
    this.state = h("p", { class: "site-state", role: "status" }, strings.resultHelp);
    this.error = h("p", { class: "mistake", role: "alert" });
    this.notice = h("p", { class: "warn site-state", role: "status" });
    this.progress = h("progress", { hidden: true, "aria-label": strings.progress });
    this.sections = h("fieldset", { class: "choice", hidden: true });
    this.list = h("div", { class: "stack" });
    this.apply = h("button", { type: "button", class: "primary", hidden: true, onclick: apply }, strings.apply);
    this.element = h("section", { class: "stack site-result", "aria-label": strings.result }, h("h2", {}, strings.result),
      this.notice, this.state, this.error, this.progress, this.sections, h("div", { class: "row site-state" }, this.apply), this.list);
  }

  #area;
  #compare;

  /** The chosen sections. */
  get prune() {
    return [...this.sections.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value);
  }

  /** @param {string} text empty: nothing is interrupted */
  interrupted(text) {
    setText(this.notice, text);
  }

  /** A choice starts a comparison: none begins during an apply. @param {boolean} locked */
  lock(locked) {
    this.sections.disabled = locked;
  }

  clear() {
    this.#state(strings.resultHelp);
    this.sections.hidden = true;
    fill(this.sections);
  }

  outdated() {
    this.#state(strings.outdated);
  }

  /** @param {string} text @param {string} [doing] such as `writing 32 of 400` */
  busy(text, doing = "") {
    const [, n, all] = /(\d+) of (\d+)/.exec(doing) ?? [];
    this.#state(text);
    this.progress.hidden = false;
    if (n && all) [this.progress.max, this.progress.value] = [Number(all), Number(n)];
    else this.progress.removeAttribute("value");
  }

  /** @param {string} text */
  failed(text) {
    this.#state("");
    setText(this.error, text);
  }

  /** @param {string[]} lines */
  done(lines) {
    this.clear();
    this.#state("");
    this.state.classList.add("good");
    setText(this.state, lines.join(" "));
  }

  /** @param {Compared} found */
  show(found) {
    this.interrupted(found.interrupted);
    if (found.mistakes.length) return this.#mistakes(found.mistakes);
    const all = found.added + found.changed + found.removed;
    this.#state(all ? strings.planned(found.added, found.changed, found.removed) : strings.same);
    this.#choices(found.sections);
    this.apply.hidden = !all && !found.interrupted;
    setText(this.apply, all ? strings.apply : strings.complete);
    fill(this.list, all ? h("ul", { class: "site-changes" }, found.changes.map(changeLine)) : null,
      all > found.changes.length ? h("p", { class: "muted" }, strings.more(all - found.changes.length)) : null, notices(found));
  }

  /** @param {string} text */
  #state(text) {
    this.state.classList.remove("good");
    setText(this.state, text);
    setText(this.error, "");
    this.progress.hidden = true;
    this.apply.hidden = true;
    this.#area.removeAttribute("aria-invalid");
    fill(this.list);
  }

  /** @param {Mistake[]} mistakes */
  #mistakes(mistakes) {
    this.#state("");
    this.sections.hidden = true;
    setText(this.error, strings.mistakes(mistakes.length));
    this.#area.setAttribute("aria-invalid", "true");
    fill(this.list, h("ul", { class: "site-changes" }, mistakes.map((mistake) => this.#mistake(mistake))));
  }

  /** @param {Mistake} mistake */
  #mistake({ path, text, line }) {
    return h("li", {}, line ? h("button", { type: "button", class: "plain", onclick: () => selectLine(this.#area, line) }, strings.line(line)) : null,
      h("div", {}, path ? h("code", {}, path) : null, h("p", {}, text)));
  }

  /** The boxes stay where the sections do: the focus, too. @param {string[]} sections */
  #choices(sections) {
    const known = [...this.sections.querySelectorAll("input")].map((box) => box.value);
    this.sections.hidden = !sections.length;
    if (known.join() === sections.join()) return;
    const chosen = this.prune;
    fill(this.sections, sections.length ? h("legend", {}, strings.prune) : null, sections.map((section) =>
      h("label", { class: "row" }, h("input", { type: "checkbox", value: section, checked: chosen.includes(section), onchange: () => this.#compare() }),
        strings.sections[section] ?? section)));
  }
}

/** @param {Change} change */
function changeLine({ kind, what, details }) {
  return h("li", {}, h("span", { class: `tag ${COLOURS[kind]}` }, strings.kinds[kind]), h("div", {}, h("strong", {}, what), details ? h("p", { class: "small muted" }, details) : null));
}

/** @param {Compared} found */
function notices({ notices: lines, more }) {
  if (!lines.length) return null;
  return h("details", { open: lines.length <= 10 }, h("summary", {}, strings.stays(lines.length + more)),
    h("ul", { class: "small muted site-notices" }, lines.map((line) => h("li", {}, line)), more ? h("li", {}, strings.more(more)) : null));
}
