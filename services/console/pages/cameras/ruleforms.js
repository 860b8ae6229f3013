/** A form for each rule, and for what counts for all of them. */

import { fill, h } from "../parts/dom.js";
import { mistakeLine } from "../parts/messages.js";
import { kinds, rules as texts } from "./rule-strings.js";
import { objectFields, purpose, resolve, showMistakes } from "./schemaform.js";
import { freeName, withValue } from "./shapes.js";

/** @typedef {import("./shapes.js").Rules} Rules */

// These are drawn, or have a form of their own.
const DRAWN = ["zones", "masks", "lines", "rules"];
const LABELS = "known-labels";

export class RuleForms {
  /** Which rules are open, by their numbers. @type {Set<number>} */
  #open = new Set();

  /**
   * @param {any} schema of a rule file
   * @param {(rules: Rules, again: boolean) => void} changed again: the forms must be rebuilt
   * @param {boolean} readOnly
   */
  constructor(schema, changed, readOnly) {
    this.schema = schema;
    this.changed = changed;
    this.readOnly = readOnly;
    /** @type {Rules} */
    this.rules = {};
    this.labels = h("datalist", { id: LABELS });
    this.list = h("div", { class: "stack" });
    this.rest = h("div", {});
    this.kind = h("select", { "aria-label": texts.kind }, inOrder(Object.keys(this.#kinds())).map((kind) => h("option", { value: kind }, kinds[kind] ?? kind)));
    this.element = h("section", { class: "stack", "aria-label": texts.rules }, h("h2", {}, texts.rules), this.labels, this.list,
      readOnly ? null : h("div", { class: "row adding" }, this.kind, h("button", { type: "button", onclick: () => this.#add() }, texts.addRule)),
      h("details", {}, h("summary", {}, texts.more), this.rest));
  }

  /** Labels to choose from. @param {string[]} labels */
  know(labels) {
    fill(this.labels, ...labels.map((value) => h("option", { value })));
  }

  /** Rebuild the forms. @param {Rules} rules */
  show(rules) {
    this.rules = rules;
    const list = rules.rules ?? [];
    fill(this.list, ...(list.length ? list.map((/** @type {any} */ rule, /** @type {number} */ n) => this.#rule(rule, n)) : [h("p", { class: "muted" }, texts.noRules)]));
    const top = resolve({ $ref: this.schema.$ref }, this.#context());
    fill(this.rest, objectFields(top, rules, [], this.#context(), DRAWN));
  }

  /** What was typed is in the fields already. @param {Rules} rules */
  keep(rules) {
    this.rules = rules;
  }

  /** @param {{path: string, text: string}[]} mistakes */
  mistakes(mistakes) {
    showMistakes(this.element, mistakes);
  }

  /** @returns {Record<string, string>} */
  #kinds() {
    const top = this.schema.$defs[this.schema.$ref.split("/").pop()];
    return top.properties.rules.items.discriminator.mapping;
  }

  /** @returns {import("./schemaform.js").Context} */
  #context() {
    return {
      defs: this.schema.$defs,
      names: { zone: Object.keys(this.rules.zones ?? {}), line: Object.keys(this.rules.lines ?? {}), schedule: Object.keys(this.rules.schedules ?? {}) },
      labels: LABELS,
      readOnly: this.readOnly,
      set: (path, value, again = false) => this.#set(withValue(this.rules, path, value), again),
    };
  }

  /** @param {Rules} rules @param {boolean} again */
  #set(rules, again) {
    this.rules = rules;
    this.changed(rules, again);
  }

  /** @param {any} rule @param {number} n */
  #rule(rule, n) {
    const context = this.#context();
    const schema = resolve({ $ref: this.#kinds()[rule.kind] ?? "" }, context);
    const details = h("details", { class: "card", open: this.#open.has(n), dataset: { path: `rules[${n}]` }, ontoggle: () => {
      if (details.open) this.#open.add(n);
      else this.#open.delete(n);
    } },
    h("summary", {}, h("strong", {}, String(rule.id)), " ", h("span", { class: "muted" }, kinds[rule.kind] ?? rule.kind)),
    mistakeLine("span"),
    h("p", { class: "small muted" }, purpose(schema)),
    objectFields(schema, rule, ["rules", n], context, ["kind"]),
    this.readOnly ? null : h("div", {}, h("button", { type: "button", class: "danger", onclick: () => this.#delete(n) }, texts.delete(rule.id))));
    return details;
  }

  /** @param {number} n */
  #delete(n) {
    this.#open = new Set([...this.#open].filter((k) => k !== n).map((k) => (k > n ? k - 1 : k)));
    this.#context().set(["rules", n], undefined, true);
  }

  /** A rule of the kind that is chosen, about what there is. */
  #add() {
    const kind = this.kind.value;
    const context = this.#context();
    const schema = resolve({ $ref: this.#kinds()[kind] ?? "" }, context);
    const id = freeName(kind.replaceAll("_", "-"), (this.rules.rules ?? []).map((/** @type {any} */ rule) => rule.id));
    /** @type {Record<string, any>} */
    const rule = { id, kind };
    for (const name of schema.required ?? []) {
      if (name in rule) continue;
      rule[name] = context.names[name]?.at(-1) ?? USUAL[name];
    }
    if (kind === "count") rule.over = 5;
    this.#open.add((this.rules.rules ?? []).length);
    this.#set({ ...this.rules, rules: [...(this.rules.rules ?? []), rule] }, true);
    /** @type {HTMLElement | null} */ (this.list.querySelector("details:last-of-type summary"))?.focus();
  }
}

/** Those that people's words are for, and whatever else there is. @param {string[]} names */
function inOrder(names) {
  const order = Object.keys(kinds);
  return [...names].sort((a, b) => order.indexOf(a) - order.indexOf(b));
}

/** The initial values of required fields. @type {Record<string, any>} */
const USUAL = { seconds: 30, distance: 0.1, direction: 0, over: 0.5, objects: 5, to: ["person"] };
