/** Tokens of one's own: made, shown once, and ended. */

import { get, post, remove } from "../api.js";
import { cameraIds } from "../parts/cameras.js";
import { choice } from "../parts/choice.js";
import { showText } from "../parts/copy.js";
import { confirm, formDialog } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { table } from "../parts/table.js";
import { orToast, toast } from "../parts/toast.js";
import { choiceTexts } from "../people/form.js";
import { strings as people } from "../people/strings.js";

const texts = people.me;

/** @typedef {{id: string, label: string, role: string, cameras: string[] | null, began: string, expires: string}} Token */

export class Tokens {
  /** @param {any} me @param {import("../shell.js").Shell} shell */
  constructor(me, shell) {
    this.me = me;
    this.shell = shell;
    this.list = h("div", {});
    this.element = h("section", { class: "card" },
      h("div", { class: "head" }, h("h2", {}, texts.tokens),
        h("button", { type: "button", onclick: () => void orToast(this.#add()) }, texts.addToken)),
      h("p", { class: "small muted" }, texts.tokensHelp), this.list);
  }

  async load() {
    /** @type {{tokens: Token[]}} */
    const { tokens } = await get("me/tokens");
    const columns = [{ head: texts.label }, { head: people.role }, { head: people.sees }, { head: texts.ends }, { head: people.actions }];
    const rows = tokens.map((token) => [
      token.label, token.role, token.cameras === null ? people.seesAll : token.cameras.join(", ") || people.seesNone, clock(token.expires),
      h("button", { type: "button", class: "danger", "aria-label": `${people.remove}: ${token.label}`, onclick: () => void orToast(this.#remove(token)) },
        people.remove),
    ]);
    fill(this.list, rows.length ? table(texts.tokens, columns, rows) : emptyNote(texts.noTokens));
  }

  async #add() {
    const label = h("input", { name: "label", required: true, maxLength: 100 });
    const role = h("select", { name: "role" }, Object.entries(people.roles).filter(([name]) => this.shell.may(name))
      .map(([value, text]) => h("option", { value }, text)));
    const days = h("input", { name: "days", type: "number", min: "1", max: "366", value: "90" });
    const cameras = choice(texts.narrow, await cameraIds(), [], { ...choiceTexts(texts.narrow), hint: texts.narrowHint });
    const content = h("div", { class: "stack" }, h("label", { class: "field" }, texts.label, label),
      h("label", { class: "field" }, people.role, role), h("label", { class: "field" }, texts.days, days), cameras.element);
    formDialog(texts.tokenTitle, content, texts.make, async () => {
      const only = cameras.chosen();
      const created = await post("me/tokens", {
        label: label.value, role: role.value, days: Number(days.value), cameras: only.length ? only : null,
      });
      // After this dialog has closed: it covers the other.
      queueMicrotask(() => showText(texts.secretTitle, texts.secretHelp, created.secret));
      await this.load();
    });
  }

  /** @param {Token} token */
  async #remove(token) {
    if (!(await confirm(texts.askRemoveToken(token.label), people.remove))) return;
    await remove(`me/tokens/${token.id}`);
    toast(texts.removedToken);
    await this.load();
  }
}
