/** What stands in the place of content: an empty state, an error, or a mistake in a form. */

import { h } from "./dom.js";

/** @typedef {import("./dom.js").Child} Child */

/** Why there is nothing to show, and what to do. @param {...Child} children */
export function emptyNote(...children) {
  return h("p", { class: "empty" }, ...children);
}

/** An error in the place of the content. @param {...Child} children */
export function errorNote(...children) {
  return h("p", { class: "empty", role: "alert" }, ...children);
}

/** The place for a mistake, empty at first. @param {"p" | "span"} [tag] @param {string} [id] */
export function mistakeLine(tag = "p", id) {
  return h(tag, { class: "mistake", role: "alert", id });
}
