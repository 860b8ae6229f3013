/** What was chosen, as tokens that can be taken away; and a field that adds one of many names. */

import { strings } from "../strings.js";
import { fill, h } from "./dom.js";

/** @typedef {{text: string, picture?: string, remove: () => void}} Token */

/**
 * Chosen things in one row, which keeps the keyboard's focus when one is removed.
 * @param {string} label
 */
export class Tokens {
  /** @param {string} label */
  constructor(label) {
    this.element = h("ul", { class: "tokens", "aria-label": label, hidden: true });
  }

  /** @param {Token[]} tokens */
  show(tokens) {
    const at = [...this.element.children].findIndex((item) => item.contains(document.activeElement));
    this.element.hidden = tokens.length === 0;
    fill(this.element, tokens.map((token) => h("li", { class: "tag" },
      token.picture ? h("img", { src: token.picture, alt: "" }) : null, h("span", {}, token.text),
      h("button", { type: "button", class: "plain", "aria-label": strings.takeAway(token.text), onclick: token.remove }, "×"))));
    if (at >= 0) this.element.children[Math.min(at, tokens.length - 1)]?.querySelector("button")?.focus();
  }
}

let fields = 0;

/** A field that takes one name after the other. */
export class NameField {
  /**
   * @param {string} label
   * @param {string} hint
   * @param {(name: string) => void} add
   */
  constructor(label, hint, add) {
    this.list = h("datalist", { id: `names-${++fields}` });
    this.input = h("input", { placeholder: hint, autocomplete: "off", spellcheck: false, maxLength: 100 });
    this.input.setAttribute("list", this.list.id);
    const take = () => {
      const name = this.input.value.trim();
      this.input.value = "";
      if (name) add(name);
    };
    this.input.addEventListener("change", take);
    this.input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !this.input.value.trim()) return;
      event.preventDefault();
      take();
    });
    // A name picked from the list is chosen.
    this.input.addEventListener("input", (event) => {
      const typed = event instanceof InputEvent && event.inputType.startsWith("insertText");
      if (!typed && [...this.list.options].some((option) => option.value === this.input.value)) take();
    });
    this.element = h("label", { class: "field" }, label, this.input, this.list);
  }

  /** @param {string[]} names that there are */
  suggest(names) {
    fill(this.list, names.map((name) => h("option", { value: name })));
  }
}
