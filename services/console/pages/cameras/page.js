/** Cameras: the wall of all of them, one of them, its settings and its rules. */

import { showForm } from "./form.js";
import { showOne } from "./one.js";
import { showRules } from "./rules.js";
import { showWall } from "./wall.js";

/** @type {import("../shell.js").Show} */
export async function show(main, route, shell) {
  const [id, what] = route.parts;
  if (!id) return route.query.has("add") ? showForm(main, null) : showWall(main, route, shell);
  if (what === "settings") return showForm(main, id);
  if (what === "rules") return showRules(main, id, shell);
  return showOne(main, id, shell);
}
