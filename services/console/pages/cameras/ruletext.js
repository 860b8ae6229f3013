/** Rules as text, with every mistake at its line. */

import { fill, h, setText } from "../parts/dom.js";
import { selectLine } from "../parts/lines.js";
import { rules as texts } from "./rule-strings.js";

/** @typedef {{path: string, text: string, line: number | null}} Mistake */

export class RuleText {
  /** @param {(text: string) => void} changed @param {boolean} readOnly */
  constructor(changed, readOnly) {
    this.area = h("textarea", { rows: 18, spellcheck: false, readOnly, class: "mono", "aria-describedby": "rule-text-hint", oninput: () => changed(this.area.value) });
    this.list = h("ul", { class: "stack small" });
    this.count = h("p", { class: "mistake", role: "status" });
    this.element = h("section", { class: "stack" },
      h("h2", {}, h("label", { htmlFor: "rule-text" }, texts.text)), this.area,
      h("p", { class: "small muted", id: "rule-text-hint" }, texts.textHint), this.count, this.list);
    this.area.id = "rule-text";
  }

  /** Show a text, unless someone is typing. @param {string} text */
  show(text) {
    if (document.activeElement !== this.area && this.area.value !== text) this.area.value = text;
  }

  /** @param {Mistake[]} mistakes */
  mistakes(mistakes) {
    const count = mistakes.length ? texts.mistakes(mistakes.length) : "";
    setText(this.count, count);
    if (mistakes.length) this.area.setAttribute("aria-invalid", "true");
    else this.area.removeAttribute("aria-invalid");
    fill(this.list, ...mistakes.map((mistake) => h("li", {}, this.#place(mistake), h("span", {}, [mistake.path, mistake.text].filter(Boolean).join(": ")))));
  }

  /** @param {Mistake} mistake */
  #place({ line }) {
    if (!line) return null;
    return h("button", { type: "button", class: "plain", onclick: () => selectLine(this.area, line) }, texts.line(line), " ");
  }
}
