/** Me: who is signed in, their password, and tokens for their programs. */

import { errorText, get, post, remove } from "../api.js";
import { confirm } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { mistakeLine } from "../parts/messages.js";
import { orToast, toast } from "../parts/toast.js";
import { strings as people } from "../people/strings.js";
import { Tokens } from "./tokens.js";

const texts = people.me;

/** @type {import("../shell.js").Show} */
export async function show(main, _route, shell) {
  const me = await get("me");
  const tokens = new Tokens(me, shell);
  fill(main, h("h1", {}, texts.title), identity(me), h("section", { class: "card" }, h("h2", {}, texts.password), password(me)), tokens.element);
  await tokens.load();
}

/** @param {any} me */
function identity(me) {
  const sees = me.cameras === null ? people.seesAll : me.cameras.length ? me.cameras.join(", ") : people.seesNone;
  return h("section", { class: "card" }, h("p", {}, texts.whoIAm(me.name, me.role)),
    h("p", {}, `${people.sees}: `, h("span", { class: "muted" }, sees)),
    me.expires ? h("p", { class: "small muted" }, texts.until(clock(me.expires * 1000))) : null,
    h("div", { class: "row" }, h("button", { type: "button", onclick: () => void signOutEverywhere() }, texts.everywhere)));
}

async function signOutEverywhere() {
  if (!(await confirm(texts.askEverywhere, texts.everywhere))) return;
  await orToast(remove("me/sessions").then(() => location.reload()));
}

/** @param {any} me */
function password(me) {
  const old = h("input", { type: "password", autocomplete: "current-password" });
  const chosen = h("input", { type: "password", autocomplete: "new-password", minLength: 10, required: true });
  const mistake = mistakeLine();
  const before = h("label", { class: "field", hidden: !me.has_password }, texts.old, old);
  const none = h("p", { class: "small muted", hidden: me.has_password }, texts.passwordNone);
  // Password managers ask for the name.
  const name = h("input", { type: "text", autocomplete: "username", value: me.name, hidden: true });
  const form = h("form", { class: "stack", noValidate: true }, none, name, before,
    h("label", { class: "field" }, texts.new, chosen, h("span", { class: "hint" }, texts.newHint)), mistake,
    h("div", { class: "row" }, h("button", { class: "primary" }, texts.set)));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    mistake.textContent = "";
    try {
      await post("me/password", { old: old.value, new: chosen.value });
      old.value = chosen.value = "";
      before.hidden = false;
      none.hidden = true;
      toast(texts.isSet);
    } catch (error) {
      mistake.textContent = errorText(error);
    }
  });
  return form;
}
