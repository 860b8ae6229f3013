/** Signing in: by a one-time link, by name and password, or by whatever else the console offers. */

import { errorText, get, post, url } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { mistakeLine } from "../parts/messages.js";
import { strings } from "../strings.js";

const texts = strings.signIn;

/**
 * @param {HTMLElement} app
 * @param {string} link what a one-time link ends with, if there is one
 * @param {(me: any) => void} then
 */
export async function signIn(app, link, then) {
  const mistake = mistakeLine();
  if (link) {
    fill(app, h("main", { class: "signin" }, h("p", {}, texts.byLink)));
    // The link must not stay in the history.
    history.replaceState(null, "", "#/now");
    try {
      return then(await post("session/link", { token: link }));
    } catch (error) {
      mistake.textContent = errorText(error);
    }
  }
  fill(app, page(mistake, then));
  app.querySelector("input")?.focus();
}

/**
 * @param {HTMLElement} mistake
 * @param {(me: any) => void} then
 */
function page(mistake, then) {
  const name = h("input", { name: "name", autocomplete: "username", required: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const form = h("form", { class: "card stack" },
    h("h1", {}, texts.title),
    h("label", { class: "field" }, texts.name, name),
    h("label", { class: "field" }, texts.password, password),
    mistake,
    h("button", { class: "primary" }, texts.go),
    h("p", { class: "small muted" }, texts.help));
  void offerOrganisation(form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    mistake.textContent = "";
    try {
      then(await post("session", { name: name.value, password: password.value }));
    } catch (error) {
      mistake.textContent = errorText(error);
      password.value = "";
    }
  });
  return h("main", { class: "signin" }, h("p", { class: "brand" }, h("img", { src: "icon.svg", alt: "" }), strings.product), form);
}

/** Another way in, where there is one. @param {HTMLElement} form */
async function offerOrganisation(form) {
  const { openid } = await get("session").catch(() => ({ openid: false }));
  if (openid) form.append(h("a", { class: "button", href: url("session/oidc") }, texts.openid));
}
