/** A person's permissions: a form in a dialog. */

import { get, put } from "../api.js";
import { cameraIds } from "../parts/cameras.js";
import { choice } from "../parts/choice.js";
import { formDialog } from "../parts/dialog.js";
import { h } from "../parts/dom.js";
import { toast } from "../parts/toast.js";
import { strings } from "./strings.js";

/**
 * @param {import("./people.js").Person | null} person null: a new person
 * @param {() => void} changed
 */
export async function changePerson(person, changed) {
  const [cameras, { groups }, { openid }] = await Promise.all([cameraIds(), get("groups"), get("session")]);
  const name = h("input", { name: "name", value: person?.name ?? "", readOnly: Boolean(person), required: true, autocomplete: "off" });
  const role = h("select", { name: "role" }, Object.entries(strings.roles).map(([value, text]) =>
    h("option", { value, selected: value === (person?.role ?? "viewer") }, text)));
  const seesAll = h("input", { type: "checkbox", checked: person?.sees_all ?? false });
  const disabled = h("input", { type: "checkbox", checked: person?.disabled ?? false });
  const byProvider = h("input", { type: "checkbox", checked: person?.by_provider ?? false });
  const some = choice(strings.camerasLegend, cameras, person?.cameras ?? [], choiceTexts(strings.camerasLegend));
  const of = choice(strings.groups, groups.map((/** @type {any} */ group) => group.name), person?.groups ?? [], choiceTexts(strings.groups));
  const which = h("div", { class: "stack", hidden: seesAll.checked }, of.element, some.element);
  seesAll.addEventListener("change", () => (which.hidden = seesAll.checked));
  const content = h("div", { class: "stack" },
    h("label", { class: "field" }, strings.name, name, h("span", { class: "hint" }, strings.nameHint)),
    h("label", { class: "field" }, strings.role, role),
    h("label", { class: "check" }, seesAll, strings.seesAll), which,
    openid ? h("label", { class: "check" }, byProvider, strings.byProvider) : null,
    h("label", { class: "check" }, disabled, strings.disabled));
  formDialog(person ? strings.changeTitle(person.name) : strings.addTitle, content, strings.save, async () => {
    await put(`people/${encodeURIComponent(name.value)}`, {
      role: role.value,
      sees_all: seesAll.checked,
      cameras: some.chosen(),
      groups: of.chosen(),
      disabled: disabled.checked,
      ...(openid ? { by_provider: byProvider.checked } : {}),
    });
    toast(strings.saved(name.value));
    changed();
  });
}

/** @param {string} what */
export function choiceTexts(what) {
  return { find: strings.filterList(what), none: strings.nothingToChoose };
}
