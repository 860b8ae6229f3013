/** Dead letters: their reasons, replayed or deleted. */

import { get, post, remove } from "../api.js";
import { confirm } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { clock, size } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { table } from "../parts/table.js";
import { orToast, toast, toastError } from "../parts/toast.js";
import { replaceQuery, to } from "../router.js";
import { showLetter } from "./letter.js";
import { strings } from "./strings.js";

/**
 * @typedef {{seq: number, service: string, reason: string, time: string, stream: string, stream_seq: number,
 *   subject: string, camera: string | null, deliveries: number, bytes: number | null, can_replay: boolean}} Letter
 */

class Letters {
  /** @type {Letter[]} */
  letters = [];
  /** @type {string | null} */
  next = null;

  /** @param {HTMLElement} part @param {string} service */
  constructor(part, service) {
    this.list = h("div", {});
    this.service = h("input", { name: "service", value: service, placeholder: strings.anyService, maxLength: 64 });
    this.all = h("button", { type: "button", hidden: true, onclick: () => void this.#replayAll() }, strings.replayAll);
    this.more = h("button", { type: "button", hidden: true, onclick: () => void orToast(this.load(true)) }, strings.more);
    const form = h("form", { class: "head" },
      h("div", { class: "row" }, h("label", { class: "field" }, strings.service, this.service), h("button", {}, strings.filter)), this.all);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      replaceQuery({ service: this.service.value });
      void orToast(this.load());
    });
    fill(part, form, this.list, this.more);
  }

  /** @param {boolean} [more] the page after those that are shown */
  async load(more = false) {
    const query = { service: this.service.value, cursor: more ? this.next : null };
    /** @type {{letters: Letter[], next: string | null}} */
    const reply = await get("letters", query);
    this.letters = more ? [...this.letters, ...reply.letters] : reply.letters;
    this.next = reply.next;
    this.#fill();
  }

  #fill() {
    const columns = [
      { head: strings.died }, { head: strings.service }, { head: strings.reason }, { head: strings.camera },
      { head: strings.tries, number: true }, { head: strings.size, number: true }, { head: strings.actions },
    ];
    const rows = this.letters.map((letter) => [
      letter.time ? clock(letter.time) : "–", letter.service, letter.reason,
      letter.camera ? h("a", { href: to("cameras", [letter.camera]) }, letter.camera) : "–",
      String(letter.deliveries), letter.bytes === null ? strings.expired : size(letter.bytes), this.#actions(letter),
    ]);
    fill(this.list, rows.length ? table(strings.tabs.letters, columns, rows) : this.next ? null : emptyNote(strings.noLetters));
    this.all.hidden = !this.letters.some((letter) => letter.can_replay);
    this.more.hidden = !this.next;
  }

  /** @param {Letter} letter */
  #actions(letter) {
    const name = (/** @type {string} */ action) => `${action}: ${strings.letter(letter.seq)}`;
    return h("div", { class: "row" },
      h("button", { type: "button", "aria-label": name(strings.look), onclick: () => void orToast(showLetter(letter.seq)) }, strings.look),
      h("button", {
        type: "button", "aria-label": name(strings.replay), disabled: !letter.can_replay,
        onclick: () => void orToast(this.#replay(letter)),
      }, strings.replay),
      h("button", { type: "button", class: "danger", "aria-label": name(strings.delete), onclick: () => void orToast(this.#delete(letter)) },
        strings.delete));
  }

  /** @param {Letter} letter */
  async #replay(letter) {
    const { stream } = await post(`letters/${letter.seq}/replay`);
    this.#drop(letter);
    toast(strings.replayed(letter.seq, stream));
  }

  /** @param {Letter} letter */
  async #delete(letter) {
    if (!(await confirm(strings.askDelete(letter.seq), strings.delete))) return;
    await remove(`letters/${letter.seq}`);
    this.#drop(letter);
    toast(strings.deleted(letter.seq));
  }

  async #replayAll() {
    const all = this.letters.filter((letter) => letter.can_replay);
    if (!(await confirm(strings.askReplayAll(all.length), strings.replay))) return;
    let failed = 0;
    // The oldest first, as it was.
    for (const letter of all.reverse()) {
      try {
        await post(`letters/${letter.seq}/replay`);
        this.#drop(letter);
      } catch (error) {
        failed += 1;
        toastError(error);
      }
    }
    toast(strings.replayedAll(all.length - failed, failed));
  }

  /** @param {Letter} letter */
  #drop(letter) {
    this.letters = this.letters.filter((other) => other.seq !== letter.seq);
    this.#fill();
  }
}

/** @type {import("./page.js").Tab} */
export async function tab(part, route) {
  await new Letters(part, route.query.get("service") ?? "").load();
}
