/** The zones, masks and lines by their names: chosen, named, turned around, deleted, and where an object stands. */

import { fill, h } from "../parts/dom.js";
import { mistakeLine } from "../parts/messages.js";
import { drawing, rules as texts } from "./rule-strings.js";
import { showMistakes } from "./schemaform.js";
import { part, points, renameShape, same, shapes, without, withPoints } from "./shapes.js";

/** @typedef {import("./shapes.js").Shape} Shape */
/** @typedef {import("./shapes.js").Rules} Rules */

export class ShapeList {
  /** @type {Rules} */
  #rules = {};

  /**
   * @param {(rules: Rules, shape: Shape | null) => void} changed
   * @param {(shape: Shape) => void} select
   * @param {boolean} readOnly
   */
  constructor(changed, select, readOnly) {
    this.changed = changed;
    this.select = select;
    this.readOnly = readOnly;
    this.element = h("ul", { class: "stack shapes" });
  }

  /** @param {Rules} rules @param {Shape | null} selected */
  show(rules, selected) {
    this.#rules = rules;
    const all = shapes(rules);
    fill(this.element, ...(all.length ? all.map((shape) => this.#row(shape, same(shape, selected))) : [h("li", { class: "muted" }, texts.noShapes)]));
  }

  /** @param {{path: string, text: string}[]} mistakes */
  mistakes(mistakes) {
    showMistakes(this.element, mistakes);
  }

  /** @param {Shape} shape @param {boolean} chosen */
  #row(shape, chosen) {
    const title = shape.kind === "masks" ? drawing.mask(Number(shape.name) + 1) : `${drawing.kinds[shape.kind]} ${shape.name}`;
    const path = shape.kind === "masks" ? `masks[${shape.name}]` : `${shape.kind}.${shape.name}`;
    return h("li", { class: `card ${shape.kind}`, dataset: { path } },
      h("button", { type: "button", class: "plain choose", "aria-pressed": String(chosen), onclick: () => this.select(shape) }, h("span", { class: `swatch ${shape.kind}` }), title),
      mistakeLine("span"),
      chosen ? this.#more(shape, title) : null);
  }

  /** @param {Shape} shape @param {string} title */
  #more(shape, title) {
    const definition = part(this.#rules, shape);
    const anchor = h("select", { disabled: this.readOnly, onchange: () => this.#set(shape, "anchor", anchor.value === "bottom" ? undefined : anchor.value) },
      Object.entries(texts.anchors).map(([value, text]) => h("option", { value, selected: value === (definition.anchor ?? "bottom") }, text)));
    return h("div", { class: "stack" },
      shape.kind === "masks" ? this.#labels(shape, definition) : this.#name(shape),
      h("label", { class: "field" }, texts.anchor, anchor),
      this.readOnly ? null : h("div", { class: "row" },
        shape.kind === "lines" ? h("button", { type: "button", onclick: () => this.#reverse(shape) }, texts.reverse) : null,
        h("button", { type: "button", class: "danger", onclick: () => this.changed(without(this.#rules, shape), null) }, texts.delete(title))));
  }

  /** @param {Shape} shape */
  #name(shape) {
    const input = h("input", { value: String(shape.name), disabled: this.readOnly, maxLength: 64, onchange: () => {
      const name = input.value.trim();
      const exists = shapes(this.#rules).some((other) => other.kind === shape.kind && other.name === name);
      if (!name || exists) input.value = String(shape.name);
      else this.changed(renameShape(this.#rules, shape, name), { ...shape, name });
    } });
    return h("label", { class: "field" }, texts.name, input);
  }

  /** @param {Shape} shape @param {any} definition */
  #labels(shape, definition) {
    const input = h("input", { value: (definition.labels ?? []).join(", "), disabled: this.readOnly, onchange: () => {
      const labels = input.value.split(",").map((label) => label.trim()).filter(Boolean);
      this.#set(shape, "labels", labels.length ? labels : undefined);
    } });
    return h("label", { class: "field" }, texts.only, input);
  }

  /** @param {Shape} shape */
  #reverse(shape) {
    this.changed(withPoints(this.#rules, shape, points(this.#rules, shape).toReversed()), shape);
  }

  /** @param {Shape} shape @param {string} name @param {any} value */
  #set(shape, name, value) {
    const copy = structuredClone(this.#rules);
    if (value === undefined) delete part(copy, shape)[name];
    else part(copy, shape)[name] = value;
    this.changed(copy, shape);
  }
}
