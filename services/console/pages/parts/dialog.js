/** Dialogs: with any content, with a question, and with a form. */

import { errorText } from "../api.js";
import { strings } from "../strings.js";
import { h } from "./dom.js";
import { mistakeLine } from "./messages.js";

/** @typedef {import("./dom.js").Child} Child */

/** Show a dialog with a heading, until it is closed. @param {string} title @param {...(Child | Child[])} content */
export function openDialog(title, ...content) {
  return show(title, h("div", { class: "stack" }, h("h2", {}, title), ...content));
}

/** @param {string} label @param {HTMLElement} content */
function show(label, content) {
  const dialog = h("dialog", { "aria-label": label }, content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Ask whether to go on. The button that does it says what it does.
 * @param {string} question
 * @param {string} action
 * @returns {Promise<boolean>}
 */
export function confirm(question, action) {
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, strings.cancel);
  const dialog = show(question, h("div", { class: "stack" }, h("p", {}, question), h("div", { class: "row" },
    h("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, action), cancel)));
  cancel.focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes")));
}

/**
 * Show a form in a dialog. What `save` throws is shown, and the dialog stays.
 * @param {string} title
 * @param {HTMLElement} content
 * @param {string} action
 * @param {() => Promise<void>} save
 */
export function formDialog(title, content, action, save) {
  const mistake = mistakeLine();
  const submit = h("button", { class: "primary" }, action);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, strings.cancel);
  const form = h("form", { class: "stack", noValidate: true }, h("h2", {}, title), content, mistake, h("div", { class: "row" }, submit, cancel));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    mistake.textContent = "";
    try {
      await save();
      dialog.close();
    } catch (error) {
      mistake.textContent = errorText(error);
    } finally {
      submit.disabled = false;
    }
  });
  const dialog = show(title, form);
}
