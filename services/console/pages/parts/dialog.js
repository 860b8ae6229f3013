/** Dialogs: one that asks whether to go on, and one that holds a form. */

import { errorText } from "../api.js";
import { strings } from "../strings.js";
import { h } from "./dom.js";

/**
 * Whether to go on. The button that does it says what it does.
 * @param {string} question
 * @param {string} action
 * @returns {Promise<boolean>}
 */
export function confirm(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": question });
    const close = (/** @type {boolean} */ yes) => {
      dialog.close();
      dialog.remove();
      resolve(yes);
    };
    const cancel = h("button", { type: "button", onclick: () => close(false) }, strings.cancel);
    dialog.append(
      h("div", { class: "stack" }, h("p", {}, question),
        h("div", { class: "row" }, h("button", { type: "button", class: "danger", onclick: () => close(true) }, action), cancel)),
    );
    dialog.addEventListener("cancel", () => close(false));
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  });
}

/**
 * A form in a dialog. save: is called with the form; what it throws is shown, and the dialog stays.
 * @param {string} title
 * @param {HTMLElement} content
 * @param {string} action
 * @param {(form: HTMLFormElement) => Promise<void>} save
 */
export function formDialog(title, content, action, save) {
  const mistake = h("p", { class: "mistake", role: "alert" });
  const submit = h("button", { class: "primary" }, action);
  const cancel = h("button", { type: "button", onclick: () => end() }, strings.cancel);
  const form = h("form", { class: "stack", noValidate: true }, h("h2", {}, title), content, mistake, h("div", { class: "row" }, submit, cancel));
  const dialog = h("dialog", { "aria-label": title }, form);
  const end = () => {
    dialog.close();
    dialog.remove();
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    mistake.textContent = "";
    try {
      await save(form);
      end();
    } catch (error) {
      mistake.textContent = errorText(error);
    } finally {
      submit.disabled = false;
    }
  });
  dialog.addEventListener("cancel", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, form, end };
}
