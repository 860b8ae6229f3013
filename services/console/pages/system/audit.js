/** What people changed, newest first. */

import { get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { clock, iso } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { table } from "../parts/table.js";
import { orToast } from "../parts/toast.js";
import { replaceQuery } from "../router.js";
import { strings } from "./strings.js";

/** @typedef {{time: string, person: string, role: string, via: string, action: string, camera: string | null, details: Record<string, unknown>}} Change */

/** @type {import("./page.js").Tab} */
export async function tab(part, route) {
  const person = h("input", { name: "person", value: route.query.get("person") ?? "", maxLength: 64 });
  const action = h("input", { name: "action", value: route.query.get("action") ?? "", placeholder: strings.actionHint, maxLength: 100 });
  const since = h("input", { name: "since", type: "datetime-local", value: route.query.get("since") ?? "" });
  const list = h("div", {});
  const more = h("button", { type: "button", hidden: true, onclick: () => void orToast(load(true)) }, strings.more);
  const form = h("form", { class: "row" }, h("label", { class: "field" }, strings.person, person),
    h("label", { class: "field" }, strings.action, action), h("label", { class: "field" }, strings.since, since), h("button", {}, strings.filter));
  /** @type {Change[]} */
  let shown = [];
  /** @type {string | null} */
  let next = null;

  /** @param {boolean} [further] */
  async function load(further = false) {
    const from = since.value ? iso(since.value) : "";
    const reply = await get("audit", { person: person.value, action: action.value, since: from, cursor: further ? next : null });
    shown = further ? [...shown, ...reply.changes] : reply.changes;
    next = reply.next;
    fill(list, shown.length ? changes(shown) : next ? null : emptyNote(strings.noChanges));
    more.hidden = !next;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    replaceQuery({ person: person.value, action: action.value, since: since.value });
    void orToast(load());
  });
  fill(part, form, list, more);
  await load();
}

/** @param {Change[]} shown */
function changes(shown) {
  const columns = [{ head: strings.when }, { head: strings.person }, { head: strings.action }, { head: strings.camera }, { head: strings.details }];
  return table(strings.tabs.audit, columns, shown.map((change) => [
    clock(change.time), [change.person, " ", h("span", { class: "small muted" }, `${change.role}, ${via(change.via)}`)],
    h("code", {}, change.action), change.camera ?? "–", h("span", { class: "small" }, details(change.details)),
  ]));
}

/** @param {string} name */
function via(name) {
  return /** @type {Record<string, string>} */ (strings.via)[name] ?? name;
}

/** @param {Record<string, unknown>} values */
function details(values) {
  return Object.entries(values).map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`).join(", ");
}
