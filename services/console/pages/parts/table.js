/** A table that becomes a list of cards on a narrow screen. */

import { h } from "./dom.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {{head: string, number?: boolean}} Column */

/**
 * @param {string} label what it is a table of
 * @param {Column[]} columns
 * @param {(Child | Child[])[][]} rows
 * @param {{wide?: boolean, marked?: number}} [options] wide: the keyboard scrolls it. marked: the number of the row that stands out
 */
export function table(label, columns, rows, { wide = false, marked = -1 } = {}) {
  const kind = (/** @type {number} */ n) => (columns[n]?.number ? "number" : "");
  return h("div", { class: "scroll", ...(wide ? { tabIndex: 0, role: "group", "aria-label": label } : {}) },
    h("table", { class: "cards", "aria-label": label },
      h("thead", {}, h("tr", {}, columns.map((column, n) => h("th", { scope: "col", class: kind(n) }, column.head)))),
      h("tbody", {}, rows.map((row, at) => h("tr", { class: at === marked ? "best" : "" }, row.map((cell, n) =>
        h("td", { class: kind(n), dataset: { label: columns[n]?.head ?? "" } }, h("div", {}, cell))))))));
}
