/** Saved searches. */

import { get, put, remove } from "../api.js";
import { confirm, formDialog } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { orToast, toast } from "../parts/toast.js";
import { fromApi, keyFor, toApi } from "./query.js";
import { strings } from "./strings.js";

/** @typedef {import("./query.js").Search} Search */

export class SavedSearches {
  /** @param {(search: Search) => void} open */
  constructor(open) {
    this.#open = open;
    this.summary = h("summary", {}, strings.saved(0));
    this.list = h("ul", { class: "stack" });
    this.element = h("details", { class: "saved", hidden: true }, this.summary, this.list);
  }

  #open;

  async refresh() {
    const { saved } = await get("find/saved");
    this.element.hidden = saved.length === 0;
    this.summary.textContent = strings.saved(saved.length);
    fill(this.list, saved.map((/** @type {any} */ entry) => {
      const title = entry.title || entry.name;
      return h("li", { class: "row" },
        h("button", { type: "button", onclick: () => this.#open(fromApi(entry.search)) }, title),
        h("button", { type: "button", class: "plain", "aria-label": strings.forget(title), onclick: () => void this.#forget(entry.name, title) }, "×"));
    }));
  }

  /** @param {Search} search */
  save(search) {
    const title = h("input", { name: "title", required: true, maxLength: 100, value: search.text.slice(0, 100) });
    formDialog(strings.save, h("label", { class: "field" }, strings.saveTitle, title), strings.saveDo, async () => {
      const text = title.value.trim() || search.text.trim().slice(0, 100);
      await put(`find/saved/${keyFor(text, Date.now())}`, { title: text, search: toApi(search) });
      toast(strings.savedIt(text));
      await this.refresh();
    });
    title.focus();
  }

  /** @param {string} name @param {string} title */
  async #forget(name, title) {
    if (!(await confirm(strings.forgetAsk(title), strings.forgetDo))) return;
    await orToast(remove(`find/saved/${name}`).then(() => this.refresh()));
  }
}
