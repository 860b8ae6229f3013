/** Groups of cameras, which several people may see together. */

import { get, put, remove } from "../api.js";
import { cameraIds } from "../parts/cameras.js";
import { choice } from "../parts/choice.js";
import { confirm, formDialog } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { emptyNote } from "../parts/messages.js";
import { table } from "../parts/table.js";
import { orToast, toast } from "../parts/toast.js";
import { choiceTexts } from "./form.js";
import { strings } from "./strings.js";

/** @typedef {{name: string, cameras: string[], people: string[]}} Group */

/** @param {HTMLElement} part */
export async function showGroups(part) {
  const list = h("div", {});
  async function load() {
    /** @type {{groups: Group[]}} */
    const { groups } = await get("groups");
    fill(list, groups.length ? all(groups, () => void orToast(load())) : emptyNote(strings.noGroups));
  }
  const add = h("button", { type: "button", class: "primary", onclick: () => void orToast(change(null, () => void orToast(load()))) }, strings.addGroup);
  fill(part, h("div", { class: "row" }, add), list);
  await load();
}

/** @param {Group[]} groups @param {() => void} changed */
function all(groups, changed) {
  const columns = [{ head: strings.name }, { head: strings.camerasLegend }, { head: strings.whoIsIn }, { head: strings.actions }];
  return table(strings.tabs.groups, columns, groups.map((group) => [
    group.name, group.cameras.join(", ") || strings.seesNone, group.people.join(", ") || strings.nobody,
    h("div", { class: "row" },
      h("button", { type: "button", "aria-label": `${strings.change}: ${group.name}`, onclick: () => void orToast(change(group, changed)) }, strings.change),
      h("button", {
        type: "button", class: "danger", "aria-label": `${strings.remove}: ${group.name}`, onclick: () => void orToast(drop(group, changed)),
      }, strings.remove)),
  ]));
}

/** @param {Group | null} group @param {() => void} changed */
async function change(group, changed) {
  const name = h("input", { name: "name", value: group?.name ?? "", readOnly: Boolean(group), required: true, autocomplete: "off" });
  const some = choice(strings.camerasLegend, await cameraIds(), group?.cameras ?? [], choiceTexts(strings.camerasLegend));
  const content = h("div", { class: "stack" },
    h("label", { class: "field" }, strings.name, name, h("span", { class: "hint" }, strings.nameHint)), some.element);
  formDialog(strings.groupTitle(group?.name ?? ""), content, strings.save, async () => {
    await put(`groups/${encodeURIComponent(name.value)}`, { cameras: some.chosen() });
    toast(strings.saved(name.value));
    changed();
  });
}

/** @param {Group} group @param {() => void} changed */
async function drop(group, changed) {
  if (!(await confirm(strings.askRemoveGroup(group.name), strings.remove))) return;
  await remove(`groups/${group.name}`);
  toast(strings.removed(group.name));
  changed();
}
