/** Names with their values. */

import { h } from "./dom.js";

/** @typedef {import("./dom.js").Child | import("./dom.js").Child[]} Value */
/** @typedef {[name: import("./dom.js").Child, value: Value, tone?: string]} Fact tone: a class of the value */

/** One pair, of a `dl`. @param {import("./dom.js").Child} name @param {Value} value @param {string} [tone] */
export function fact(name, value, tone) {
  return h("div", {}, h("dt", {}, name), h("dd", { class: tone }, value));
}

/** @param {(Fact | null)[]} facts */
export function figures(facts) {
  return h("dl", { class: "figures" }, facts.map((pair) => pair && fact(...pair)));
}
