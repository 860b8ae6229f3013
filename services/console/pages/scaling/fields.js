/** Fields of a form, each with its mistake. */

import { h } from "../parts/dom.js";
import { strings } from "./strings.js";

const texts = strings.form;

/** What can't be used, of one field. */
export class Mistake extends Error {
  /** @param {string} field @param {string} text */
  constructor(field, text) {
    super(text);
    this.field = field;
  }
}

/** A labelled control with a place for its mistake. */
export class Field {
  /**
   * @param {string} name as the API has it
   * @param {HTMLInputElement | HTMLSelectElement} control
   * @param {string} [hint]
   */
  constructor(name, control, hint = "") {
    this.name = name;
    this.control = control;
    this.mistake = h("span", { class: "mistake", id: `whatif-${name}-mistake`, role: "alert" });
    control.name = name;
    control.setAttribute("aria-describedby", this.mistake.id);
    this.element = h("div", { class: "field" },
      h("label", { class: "field" }, /** @type {any} */ (texts)[name], hint && h("span", { class: "hint" }, hint), control), this.mistake);
    control.addEventListener("input", () => this.showMistake(""));
  }

  /** @param {string} text empty: nothing is wrong */
  showMistake(text) {
    this.mistake.textContent = text;
    this.control.setAttribute("aria-invalid", String(Boolean(text)));
  }
}

/** A number within bounds, or none. */
export class NumberField extends Field {
  /**
   * @param {string} name
   * @param {{least: number, most: number, whole?: boolean, placeholder?: string, value?: number | null, scale?: number}} of
   */
  constructor(name, { least, most, whole = false, placeholder = "", value = null, scale = 1 }) {
    super(name, h("input", { inputMode: "decimal", autocomplete: "off", placeholder, value: value === null ? "" : String(value) }));
    this.of = { least, most, whole, scale };
  }

  /** Raises Mistake. @returns {number | null} */
  read() {
    const text = this.control.value.trim();
    const { least, most, whole, scale } = this.of;
    if (!text) return null;
    const n = Number(text);
    if (!Number.isFinite(n)) throw new Mistake(this.name, texts.number);
    if (n < least || n > most) throw new Mistake(this.name, texts.between(least, most));
    if (whole && !Number.isInteger(n)) throw new Mistake(this.name, texts.whole);
    return n / scale;
  }
}

/**
 * One of several.
 * @param {string} name
 * @param {Record<string, string>} options
 * @param {string} [chosen]
 */
export function choice(name, options, chosen) {
  return new Field(name, h("select", {}, Object.entries(options).map(([value, text]) =>
    h("option", { value, selected: value === chosen }, text))));
}
