/** The list of people, and what is done to each. */

import { get, post, remove } from "../api.js";
import { showText } from "../parts/copy.js";
import { confirm } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { ago, clock } from "../parts/format.js";
import { table } from "../parts/table.js";
import { orToast, toast } from "../parts/toast.js";
import { changePerson } from "./form.js";
import { strings } from "./strings.js";

/**
 * @typedef {{name: string, role: "viewer" | "operator" | "admin", sees_all: boolean, cameras: string[], groups: string[],
 *   disabled: boolean, has_password: boolean, by_provider: boolean, provider_known: boolean, sessions: number,
 *   tokens: number, signed_in: string | null}} Person
 */

/** @param {HTMLElement} part */
export async function showPeople(part) {
  const list = h("div", {});
  /** @type {Person[]} */
  let people = [];
  /** @type {string | null} */
  let next = null;
  const more = h("button", { type: "button", hidden: true, onclick: () => void orToast(load(true)) }, strings.more);

  /** @param {boolean} [further] */
  async function load(further = false) {
    const reply = await get("people", { cursor: further ? next : null });
    people = further ? [...people, ...reply.people] : reply.people;
    next = reply.next;
    fill(list, all(people, () => void orToast(load())));
    more.hidden = !next;
  }

  const add = h("button", { type: "button", class: "primary", onclick: () => void orToast(changePerson(null, () => load())) }, strings.add);
  fill(part, h("div", { class: "row" }, add), list, more);
  await load();
}

/** @param {Person[]} people @param {() => void} changed */
function all(people, changed) {
  const columns = [
    { head: strings.name }, { head: strings.role }, { head: strings.sees }, { head: strings.signsIn },
    { head: strings.signedIn }, { head: strings.actions },
  ];
  return table(strings.title, columns, people.map((person) => [
    [person.name, person.disabled ? h("div", { class: "small bad" }, strings.off) : null],
    person.role, sees(person), by(person), activity(person), actions(person, changed),
  ]));
}

/** @param {Person} person */
function sees(person) {
  if (person.sees_all) return strings.seesAll;
  const parts = [];
  if (person.cameras.length) parts.push(strings.cameras(person.cameras.length));
  if (person.groups.length) parts.push(strings.groupsSeen(person.groups));
  return parts.join(", ") || strings.seesNone;
}

/** @param {Person} person */
function by(person) {
  const ways = [];
  if (person.has_password) ways.push(strings.by.password);
  if (person.by_provider) ways.push(person.provider_known ? strings.by.provider : strings.by.expected);
  return ways.join(", ") || strings.by.link;
}

/** @param {Person} person */
function activity(person) {
  if (!person.signed_in && !person.tokens) return strings.never;
  return [
    person.signed_in ? h("div", {}, ago(person.signed_in)) : null,
    h("div", { class: "small muted" }, [
      person.sessions ? strings.sessions(person.sessions) : "", person.tokens ? strings.tokens(person.tokens) : "",
    ].filter(Boolean).join(", ")),
  ];
}

/** @param {Person} person @param {() => void} changed */
function actions(person, changed) {
  const button = (/** @type {string} */ text, /** @type {() => Promise<void>} */ act, kind = "") =>
    h("button", { type: "button", class: kind, "aria-label": `${text}: ${person.name}`, onclick: () => void orToast(act()) }, text);
  return h("div", { class: "row" },
    button(strings.change, () => changePerson(person, changed)),
    button(strings.link, () => link(person.name)),
    button(strings.signOut, async () => {
      if (!(await confirm(strings.askSignOut(person.name), strings.signOut))) return;
      await post(`people/${person.name}/signout`);
      toast(strings.signedOut(person.name));
      changed();
    }),
    button(strings.remove, async () => {
      if (!(await confirm(strings.askRemove(person.name), strings.remove))) return;
      await remove(`people/${person.name}`);
      toast(strings.removed(person.name));
      changed();
    }, "danger"));
}

/** @param {string} name */
export async function link(name) {
  const created = await post(`people/${name}/link`);
  const address = created.address ?? new URL(`./#/link/${created.token}`, document.baseURI).href;
  showText(strings.linkTitle(name), strings.linkHelp(clock(created.expires)), address);
}
