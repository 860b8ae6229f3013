/** The measured models, a row each, in the chosen order. */

import { url } from "../api.js";
import { copy } from "../parts/copy.js";
import { openDialog } from "../parts/dialog.js";
import { h } from "../parts/dom.js";
import { number, percent } from "../parts/format.js";
import { table } from "../parts/table.js";
import { strings } from "./strings.js";
import { cameraDay, streamsOf } from "./cost.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Reply} Reply */

/**
 * The values that the table depends on, in addition to the models.
 * @typedef {{price: number | null, sort: string, seesAll: boolean, isAdmin: boolean, use: (name: string) => void}} View
 */

const LARGEST = 1e12;

/** @param {Reply} reply @param {View} view */
export function measured(reply, view) {
  const texts = strings.columns;
  const columns = [
    { head: strings.model }, { head: texts.picture }, { head: texts.rate, number: true }, { head: texts.cameras, number: true },
    { head: texts.cost, number: true }, { head: texts.measured }, { head: texts.actions },
  ];
  const models = sorted(reply.models, view);
  return table(strings.measured, columns, models.map((model) => row(model, reply, view)),
    { wide: true, marked: models.findIndex((model) => model.is_active) });
}

/** Models that can't be read come last. @param {Model[]} models @param {View} view */
function sorted(models, view) {
  const by = (/** @type {Model} */ model) => {
    if (view.sort === "name") return 0;
    // Without a price, the cost follows the cameras of a replica.
    const cost = view.sort === "rate" ? -(model.rate?.segments_s ?? -LARGEST) : cameraDay(model.rate, view.price || 1);
    return cost ?? LARGEST;
  };
  return [...models].sort((a, b) => Number(Boolean(a.error)) - Number(Boolean(b.error)) || by(a) - by(b) || a.name.localeCompare(b.name));
}

/** @param {Model} model @param {Reply} reply @param {View} view */
function row(model, reply, view) {
  const { rate, measured: on } = model;
  if (!rate || !on) return [[h("strong", {}, model.name), warning(model.error)], "–", "–", "–", "–", "–", "–"];
  return [
    name(model, reply),
    picture(model, view),
    [number(rate.segments_s, 2), note(strings.atFps(number(rate.fps, 2))), note(strings.target(number(rate.latency_target_s)))],
    [number(rate.cameras), note(rate.cameras ? strings.atLoad(percent(rate.load)) : strings.needsReplicas(number(1 / streamsOf(rate))))],
    cost(model, view),
    [new Date(on.time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" }), note(on.cpu),
      note(strings.cores(number(rate.busy_cores), on.cores)), on.was_busy ? warning(strings.wasBusy) : null],
    actions(model, view),
  ];
}

/** @param {Model} model @param {Reply} reply */
function name(model, reply) {
  const runs = model.is_active && reply.running?.some((one) => one.model && one.model === model.detector);
  return [
    h("div", { class: "row" }, h("strong", {}, model.name), model.is_active ? h("span", { class: "tag good" }, strings.active) : null,
      runs ? h("span", { class: "tag" }, strings.runs) : null),
    h("div", { class: "small muted" }, `${model.spec}, ${model.device}`),
    model.warning ? warning(model.warning) : model.is_checked ? null : note(strings.checking),
  ];
}

/** @param {Model} model @param {View} view */
function picture(model, view) {
  if (!model.has_picture) return note(view.seesAll ? strings.noPicture : strings.hiddenPicture);
  const source = url(`models/${encodeURIComponent(model.name)}/picture`, { v: model.measured?.time });
  return h("button", { type: "button", class: "plain sheet", "aria-label": strings.enlarge(model.name), onclick: () => enlarge(model.name, source) },
    h("img", { src: source, alt: "", loading: "lazy", width: 144, height: 81 }));
}

/** @param {string} name @param {string} source */
function enlarge(name, source) {
  const dialog = openDialog(strings.picture(name), h("img", { class: "sheet", src: source, alt: strings.picture(name) }));
  dialog.classList.add("wide");
  dialog.firstElementChild?.append(h("div", { class: "row" }, h("button", { type: "button", onclick: () => dialog.close() }, strings.close)));
}

/** @param {Model} model @param {View} view */
function cost(model, view) {
  const value = cameraDay(model.rate, view.price);
  return value === null ? h("span", { class: "muted small" }, strings.noPrice)
    : h("strong", {}, value.toLocaleString("en", { maximumSignificantDigits: 3 }));
}

/** @param {Model} model @param {View} view */
function actions(model, view) {
  return h("div", { class: "models-actions" },
    h("button", { type: "button", "aria-label": strings.details(model.name), onclick: () => details(model) }, strings.detailsShort),
    view.isAdmin && !model.is_active
      ? h("button", { type: "button", disabled: Boolean(model.warning), "aria-label": `${strings.use}: ${model.name}`, onclick: () => view.use(model.name) }, strings.use)
      : null);
}

/** @param {Model} model */
function details(model) {
  const dialog = openDialog(model.name,
    h("p", { class: "small muted" }, strings.limitedBy(model.rate?.limited_by ?? "–"), model.measured?.footage ? ` ${strings.footage(model.measured.footage)}` : ""),
    ...text(model.name, strings.settings, model.settings),
    ...(model.scaled_object ? text(model.name, strings.scaledObject, model.scaled_object) : [h("h3", {}, strings.scaledObject), note(strings.noScaledObject)]),
    model.scaled_object ? note(strings.apply) : null,
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => dialog.close() }, strings.close)));
  dialog.classList.add("wide");
}

/** @param {string} of @param {string} title @param {string} content */
function text(of, title, content) {
  const pre = h("pre", { tabIndex: 0, "aria-label": title }, content);
  return [h("h3", {}, title), pre, h("div", { class: "row" },
    h("button", { type: "button", "aria-label": strings.copyOf(title, of), onclick: () => void copy(pre) }, strings.copy))];
}

/** @param {string} content */
function note(content) {
  return h("div", { class: "small muted" }, content);
}

/** @param {string} content */
function warning(content) {
  return h("div", { class: "small warn" }, content);
}
