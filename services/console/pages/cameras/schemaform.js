/** Forms made of a JSON Schema: each property a field, as its type says. An empty field has no property in the value. */

import { h } from "../parts/dom.js";
import { mistakeLine } from "../parts/messages.js";
import { fields as titles, rules as texts } from "./rule-strings.js";
import { pathText } from "./shapes.js";

/** @typedef {(string | number)[]} Path */
/**
 * defs: of the schema. set: a value at a path is changed; undefined: taken away. names: what there is of zones, lines
 * and schedules. labels: id of a list of labels. readOnly: nothing may be changed.
 * @typedef {{defs: Record<string, any>, set: (path: Path, value: any, again?: boolean) => void, names: Record<string, string[]>, labels: string, readOnly: boolean}} Context
 */

const COMMON = ["labels", "hold_s", "end_after_s", "cooldown_s", "severity", "schedule", "verify", "alert"];
const ORDER = ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "info", "warning", "critical", "in", "out", "both", "unless_rejected", "confirmed", "start"];
const NAMED = ["zone", "line", "schedule"];

/** What a part of a schema stands for. @param {any} schema @param {Context} context @returns {any} */
export function resolve(schema, context) {
  if (schema.$ref) return resolve(context.defs[schema.$ref.split("/").pop()], context);
  if (!schema.anyOf) return schema;
  const some = schema.anyOf.filter((/** @type {any} */ one) => one.type !== "null");
  return some.length === 1 ? { ...resolve(some[0], context), default: schema.default } : schema;
}

/** What a struct is for, by the first sentence of its docstring. @param {any} schema */
export function purpose(schema) {
  return String(schema.description ?? "").split("\n")[0]?.replaceAll("`", "") ?? "";
}

/**
 * The fields of an object.
 * @param {any} schema
 * @param {any} value
 * @param {Path} path
 * @param {Context} context
 * @param {string[]} [leave] properties that are shown elsewhere
 * @returns {HTMLElement}
 */
export function objectFields(schema, value, path, context, leave = []) {
  const required = schema.required ?? [];
  const rank = (/** @type {string} */ name) => (name === "id" ? 0 : required.includes(name) ? 1 : COMMON.includes(name) ? 3 : 2);
  const shown = Object.entries(schema.properties).filter(([name]) => !leave.includes(name));
  // What a rule is about comes before what all of them have.
  return h("div", { class: "grid" }, shown.sort(([a], [b]) => rank(a) - rank(b)).map(([name, one]) =>
    field(name, resolve(one, context), value?.[name], [...path, name], context, required.includes(name))));
}

/**
 * @param {string} name
 * @param {any} schema
 * @param {any} value
 * @param {Path} path
 * @param {Context} context
 * @param {boolean} required
 */
function field(name, schema, value, path, context, required) {
  const label = titles[name] ?? name;
  if (schema.type === "object" && schema.additionalProperties) return namedParts(label, schema, value ?? {}, path, context);
  if (schema.type === "array" && resolve(schema.items, context).enum) return boxes(label, inOrder(resolve(schema.items, context).enum), value, path, context);
  const control = leafControl(name, schema, value, path, context, required);
  const mistake = mistakeLine("span");
  control.dataset.path = pathText(path);
  /** @type {any} */ (control).disabled = context.readOnly;
  return h("div", { class: `field${control instanceof HTMLTextAreaElement ? " wide" : ""}` }, h("label", { class: "field" }, label, control), mistake);
}

/**
 * A field for a text, a number, one of some, or labels.
 * @param {string} name
 * @param {any} schema
 * @param {any} value
 * @param {Path} path
 * @param {Context} context
 * @param {boolean} required
 */
function leafControl(name, schema, value, path, context, required) {
  const set = (/** @type {any} */ next) => context.set(path, next === "" || next === null ? undefined : next);
  if (NAMED.includes(name)) return choice([...(context.names[name] ?? [])], value, required, schema.default, set);
  if (schema.enum) return choice(inOrder(schema.enum), value, required, schema.default, set);
  if (schema.type === "array") {
    const read = () => input.value.split(",").map((label) => label.trim()).filter(Boolean);
    const input = h("input", { value: (value ?? []).join(", "), autocomplete: "off", oninput: () => set(read().length ? read() : null) });
    input.setAttribute("list", context.labels);
    return input;
  }
  if (schema.type === "number" || schema.type === "integer") {
    const input = h("input", {
      type: "number", value: value ?? "", step: schema.type === "integer" ? 1 : "any", min: schema.minimum ?? schema.exclusiveMinimum,
      max: schema.maximum ?? schema.exclusiveMaximum, placeholder: shown(schema.default), oninput: () => set(input.value === "" ? null : Number(input.value)),
    });
    return input;
  }
  if ((schema.maxLength ?? 0) > 1000) {
    const area = h("textarea", { rows: 2, value: value ?? "", oninput: () => set(area.value) });
    return area;
  }
  const input = h("input", { value: value ?? "", placeholder: shown(schema.default), oninput: () => set(input.value) });
  return input;
}

/** A schema has its words by the alphabet. @param {string[]} words */
function inOrder(words) {
  return [...words].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
}

/** @param {any} value */
function shown(value) {
  return value === null || value === undefined ? "" : String(value);
}

/**
 * @param {string[]} options
 * @param {any} value
 * @param {boolean} required
 * @param {any} usual
 * @param {(value: any) => void} set
 */
function choice(options, value, required, usual, set) {
  const all = value !== undefined && !options.includes(value) ? [value, ...options] : options;
  const none = required && value !== undefined ? null : h("option", { value: "" }, usual ? `${usual}` : texts.unset);
  const select = h("select", { onchange: () => set(select.value) }, none,
    all.filter((one) => one !== usual || value === one).map((one) => h("option", { value: one, selected: one === value }, one)));
  return select;
}

/** Some of few. @param {string} label @param {string[]} options @param {any} value @param {Path} path @param {Context} context */
function boxes(label, options, value, path, context) {
  const mistake = mistakeLine("span");
  const all = options.map((one) => h("input", { type: "checkbox", value: one, checked: (value ?? options).includes(one), disabled: context.readOnly, onchange: () => {
    const chosen = all.filter((box) => box.checked).map((box) => box.value);
    context.set(path, chosen.length === options.length ? undefined : chosen);
  } }));
  return h("fieldset", { class: "field wide", dataset: { path: pathText(path) } }, h("legend", {}, label),
    h("div", { class: "row" }, all.map((box) => h("label", { class: "row" }, box, box.value))), mistake);
}

/**
 * Parts by their names, each with its own fields.
 * @param {string} label
 * @param {any} schema
 * @param {Record<string, any>} value
 * @param {Path} path
 * @param {Context} context
 */
function namedParts(label, schema, value, path, context) {
  const one = resolve(schema.additionalProperties, context);
  const name = h("input", { "aria-label": texts.newName(label) });
  if (label === titles.filters) name.setAttribute("list", context.labels);
  const add = () => name.value.trim() && context.set([...path, name.value.trim()], {}, true);
  const parts = Object.entries(value).map(([key, part]) => h("fieldset", { class: "card", dataset: { path: pathText([...path, key]) } },
    h("legend", {}, key),
    objectFields(one, part, [...path, key], context),
    mistakeLine("span"),
    context.readOnly ? null : h("div", {}, h("button", { type: "button", class: "danger", onclick: () => context.set([...path, key], undefined, true) }, texts.delete(key)))));
  return h("fieldset", { class: "field wide stack" }, h("legend", {}, label), h("p", { class: "small muted" }, purpose(one)), parts,
    context.readOnly ? null : h("div", { class: "row adding" }, name, h("button", { type: "button", onclick: add }, texts.addNamed)));
}

/**
 * Show each mistake at its field, or at the nearest part around it.
 * @param {HTMLElement} form
 * @param {{path: string, text: string}[]} mistakes
 */
export function showMistakes(form, mistakes) {
  const places = /** @type {HTMLElement[]} */ ([...form.querySelectorAll("[data-path]")]);
  for (const place of places) {
    place.removeAttribute("aria-invalid");
    const error = errorAt(place);
    if (error) error.textContent = "";
  }
  for (const { path, text } of mistakes) {
    const around = places.filter((place) => begins(path, place.dataset.path ?? ""));
    const place = around.sort((a, b) => (b.dataset.path ?? "").length - (a.dataset.path ?? "").length)[0];
    const error = place && errorAt(place);
    if (!place || !error) continue;
    if (place.matches("input, select, textarea")) place.setAttribute("aria-invalid", "true");
    error.textContent = [error.textContent, text].filter(Boolean).join("; ");
    place.closest("details")?.setAttribute("open", "");
  }
}

/** @param {HTMLElement} place @returns {Element | null | undefined} */
function errorAt(place) {
  if (place.matches("input, select, textarea")) return place.closest("div.field")?.querySelector(":scope > .mistake");
  return place.querySelector(":scope > .mistake");
}

/** @param {string} path @param {string} part */
function begins(path, part) {
  return path === part || path.startsWith(`${part}.`) || path.startsWith(`${part}[`);
}
