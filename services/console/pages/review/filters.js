/** The filters as controls. What they say is in the address, so that a link has it too. */

import { fill, h } from "../parts/dom.js";
import { isChosen, RANGE } from "./query.js";
import { strings } from "./strings.js";

/** @typedef {import("./query.js").Query} Query */

export class Filters {
  /** @type {Record<string, HTMLSelectElement | HTMLInputElement>} */
  #controls = {};
  /** @type {Record<string, HTMLDataListElement>} */
  #lists = {};

  /** @param {(changed: Query) => void} change called with what changed; an empty value removes a filter */
  constructor(change) {
    this.#change = change;
    this.one = h("p", { class: "row", hidden: true });
    this.element = h("details", { class: "review-filters card", open: matchMedia("(min-width: 900px)").matches },
      h("summary", {}, strings.filters),
      h("div", { class: "controls" },
        this.#select("range", strings.time, { ...strings.times, chosen: strings.chosen }),
        this.#text("camera", strings.camera),
        this.#text("rule", strings.rule),
        this.#select("severity", strings.severity, {
          "": strings.any, critical: strings.severities.critical, "critical,warning": strings.orWorse, info: strings.severities.info,
        }),
        this.#select("verdict", strings.verdict, { "": strings.any, ...strings.verdicts }),
        this.#select("state", strings.state, { "": strings.any, ...strings.states }),
        this.#select("reviewed", strings.review, { "": strings.any, ...strings.reviews }),
        this.#check("alert", strings.alerts),
        h("button", { type: "button", onclick: () => this.#clear() }, strings.clear)),
      this.one);
  }

  #change;

  /** Have the controls say what the address does. @param {Query} query */
  show(query) {
    for (const [name, control] of Object.entries(this.#controls)) {
      const value = name === "range" ? (isChosen(query) ? "chosen" : (query["range"] ?? RANGE)) : (query[name] ?? "");
      if (control instanceof HTMLInputElement && control.type === "checkbox") control.checked = value === "true";
      else if (control !== document.activeElement || control instanceof HTMLSelectElement) control.value = value;
    }
    const chosen = this.#controls["range"]?.querySelector("option[value=chosen]");
    if (chosen instanceof HTMLOptionElement) chosen.hidden = !isChosen(query);
    this.one.hidden = !query["incident"];
    fill(this.one, `${strings.one} ${query["incident"] ?? ""}`,
      h("button", { type: "button", onclick: () => this.#change({ incident: "" }) }, strings.clear));
  }

  /** Names that are proposed. @param {string} name @param {Iterable<string>} values */
  suggest(name, values) {
    const list = this.#lists[name];
    const sorted = [...new Set(values)].sort();
    if (list && sorted.join() !== [...list.options].map((o) => o.value).join()) {
      fill(list, sorted.map((value) => h("option", { value })));
    }
  }

  /** @param {string} name @param {string} label @param {Record<string, string>} options */
  #select(name, label, options) {
    const select = h("select", { name, onchange: () => this.#chosen(name, select.value) },
      Object.entries(options).map(([value, text]) => h("option", { value }, text)));
    this.#controls[name] = select;
    return h("label", { class: "field" }, label, select);
  }

  /** @param {string} name @param {string} label */
  #text(name, label) {
    const list = h("datalist", { id: `review-${name}` });
    const input = h("input", { name, type: "search", list: null, placeholder: strings.any, autocomplete: "off",
      onchange: () => this.#chosen(name, input.value.trim()) });
    input.setAttribute("list", list.id);
    this.#controls[name] = input;
    this.#lists[name] = list;
    return h("label", { class: "field" }, label, input, list);
  }

  /** @param {string} name @param {string} label */
  #check(name, label) {
    const input = h("input", { name, type: "checkbox", onchange: () => this.#chosen(name, input.checked ? "true" : "") });
    this.#controls[name] = input;
    return h("label", { class: "row" }, input, label);
  }

  /** @param {string} name @param {string} value */
  #chosen(name, value) {
    if (name === "range") this.#change({ range: value === RANGE ? "" : value, since: "", until: "" });
    else this.#change({ [name]: value });
  }

  #clear() {
    this.#change(Object.fromEntries([...Object.keys(this.#controls), "since", "until", "incident"].map((name) => [name, ""])));
  }
}
