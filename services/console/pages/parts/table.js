/** A table that becomes a list of cards on a narrow screen. */

import { h } from "./dom.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {{head: string, number?: boolean}} Column */

/**
 * @param {string} label what it is a table of
 * @param {Column[]} columns
 * @param {(Child | Child[])[][]} rows
 */
export function table(label, columns, rows) {
  const kind = (/** @type {number} */ n) => (columns[n]?.number ? "number" : "");
  return h("div", { class: "scroll" }, h("table", { class: "cards", "aria-label": label },
    h("thead", {}, h("tr", {}, columns.map((column, n) => h("th", { scope: "col", class: kind(n) }, column.head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, n) =>
      h("td", { class: kind(n), dataset: { label: columns[n]?.head ?? "" } }, h("div", {}, cell))))))));
}
