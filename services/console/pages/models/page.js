/** Models: which detector runs now, what each measured one costs, and which one runs next. */

import { get, put } from "../api.js";
import { confirm } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { emptyNote } from "../parts/messages.js";
import { poll } from "../parts/poll.js";
import { orToast, toast } from "../parts/toast.js";
import { commands } from "./commands.js";
import { priceOf, rememberedPrice, rememberPrice } from "./cost.js";
import { measured } from "./measured.js";
import { running } from "./running.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Reply} Reply */

const EVERY_MS = 5000;

/** @type {import("../shell.js").Show} */
export async function show(main, _route, shell) {
  const page = new Models(shell);
  fill(main, h("h1", {}, strings.title), ...page.sections, commands());
  return poll((signal) => page.load(signal), EVERY_MS);
}

class Models {
  /** @type {Reply | null} */
  #reply = null;
  #shown = "";
  #running = "";

  /** @param {import("../shell.js").Shell} shell */
  constructor(shell) {
    this.seesAll = shell.me.cameras === null;
    this.isAdmin = shell.may("admin") && this.seesAll;
    this.now = h("div", {});
    this.list = h("div", { class: "stack models-list" });
    this.state = h("p", { class: "models-state", role: "status" });
    this.price = h("input", { name: "price", inputMode: "decimal", autocomplete: "off", maxLength: 12, "aria-describedby": "models-price-hint" });
    const texts = strings.choices;
    this.sort = h("select", { name: "sort" }, Object.entries(texts.by).map(([value, text]) => h("option", { value }, text)));
    this.back = h("button", { type: "button", hidden: true, onclick: () => void orToast(this.#use(null)) }, strings.useDefault);
    this.choices = h("div", { class: "row models-choices", hidden: true },
      h("label", { class: "field" }, texts.price, this.price, h("span", { class: "hint", id: "models-price-hint" }, texts.priceHint)),
      h("label", { class: "field" }, texts.sort, this.sort));
    this.price.addEventListener("input", () => {
      rememberPrice(this.price.value);
      this.#draw();
    });
    this.sort.addEventListener("change", () => this.#draw());
    this.sections = [
      h("section", { class: "stack", "aria-label": strings.measured },
        h("div", { class: "head" }, h("div", {}, h("h2", {}, strings.measured), h("p", { class: "muted" }, strings.measuredHelp)), this.choices),
        h("div", { class: "row" }, this.state, this.back), this.list),
      h("section", { class: "stack", "aria-label": strings.running }, h("h2", {}, strings.running),
        h("p", { class: "muted" }, strings.runningHelp), this.now),
    ];
  }

  /** @param {AbortSignal} [signal] */
  async load(signal) {
    const first = this.#reply === null;
    this.#reply = /** @type {Reply} */ (await get("models", {}, signal));
    if (first) this.price.value = rememberedPrice(this.#reply.price);
    this.#draw();
  }

  #draw() {
    const reply = this.#reply;
    if (!reply) return;
    const replicas = JSON.stringify(reply.running);
    if (replicas !== this.#running) fill(this.now, running(reply.running));
    this.#running = replicas;
    const price = priceOf(this.price.value);
    this.price.setAttribute("aria-invalid", String(price === null && this.price.value.trim() !== ""));
    this.#drawList(reply, price);
  }

  /** A list that has not changed stays: its focus and its pictures, too. @param {Reply} reply @param {number | null} price */
  #drawList(reply, price) {
    const models = new Set(reply.running?.map((one) => one.model));
    const shown = JSON.stringify([reply.models, reply.active, reply.more, [...models], price, this.sort.value]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.choices.hidden = !reply.models.length;
    this.back.hidden = !(this.isAdmin && reply.active);
    this.state.textContent = reply.has_folder ? stateOf(reply, models) : "";
    this.state.classList.toggle("warn", Boolean(reply.active && !reply.models.some((model) => model.is_active)));
    const focused = document.activeElement instanceof HTMLElement && this.list.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
    if (!reply.models.length) {
      fill(this.list, reply.has_folder ? emptyNote(h("strong", {}, strings.empty.title), " ", strings.empty.help) : emptyNote(strings.empty.noFolder));
      return;
    }
    const view = { price, sort: this.sort.value, seesAll: this.seesAll, isAdmin: this.isAdmin, use: (/** @type {string} */ name) => void orToast(this.#use(name)) };
    fill(this.list, measured(reply, view), reply.more ? h("p", { class: "muted" }, strings.more(reply.more)) : null,
      this.isAdmin ? null : h("p", { class: "small muted" }, strings.needsAdmin));
    for (const button of this.list.querySelectorAll("button")) if (focused && button.ariaLabel === focused) button.focus({ preventScroll: true });
  }

  /** @param {string | null} name null: the default */
  async #use(name) {
    const active = this.#reply?.active ?? "";
    if (!(await confirm(name ? strings.askUse(name) : strings.askDefault, name ? strings.use : strings.useDefault))) return;
    try {
      await put("models/active", { name, instead_of: active });
      toast(name ? strings.used(name) : strings.usedDefault);
    } finally {
      await this.load();
    }
  }
}

/** Which model is active, and whether it runs. @param {Reply} reply @param {Set<string>} models the names of those that run */
function stateOf(reply, models) {
  if (!reply.active) return reply.models.length ? strings.activeDefault : "";
  const active = reply.models.find((model) => model.is_active);
  if (!active) return strings.activeGone(reply.active);
  const others = [...models].filter(Boolean);
  if (!others.length) return strings.activeRests(active.name);
  return others.includes(active.detector) ? strings.activeRuns(active.name) : strings.nextStart(active.name, others.join(", "));
}
