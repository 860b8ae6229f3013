/** The text of a site file, its comparison with what runs, and the apply. */

import { errorText, get, post } from "../api.js";
import { copy } from "../parts/copy.js";
import { confirm } from "../parts/dialog.js";
import { h, setText } from "../parts/dom.js";
import { repeat } from "../parts/poll.js";
import { toast } from "../parts/toast.js";
import { Result } from "./result.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Compared} Compared */
/** @typedef {import("./types.js").Applied} Applied */
/** @typedef {import("./types.js").SiteFile} SiteFile */

const MOST = 1024 * 1024;
const EVERY_MS = 500;

/** A text that was not applied when the page was left. */
let draft = "";

export class SiteEditor {
  /** @type {Compared | null} */
  #compared = null;
  #running;
  #ended = new AbortController();
  /** Which comparison is the latest: an earlier answer is dropped. */
  #turn = 0;

  /** @param {SiteFile} file @param {(text: string) => void} save */
  constructor(file, save) {
    this.#running = file.text;
    this.area = h("textarea", { id: "site-text", class: "mono site-text", spellcheck: false, rows: 24, value: draft || file.text, "aria-describedby": "site-hint", oninput: () => this.#edited() });
    this.upload = h("input", { type: "file", accept: ".yaml,.yml,.json", hidden: true, "aria-label": strings.uploadLabel, onchange: () => void this.#take() });
    this.choose = h("button", { type: "button", onclick: () => this.upload.click() }, strings.upload);
    this.reset = h("button", { type: "button", onclick: () => void this.#reset() }, strings.reset);
    this.compare = h("button", { type: "button", class: "primary", onclick: () => void this.#compare() }, strings.compare);
    this.result = new Result(this.area, () => void this.#compare(), () => void this.#apply());
    this.result.interrupted(file.interrupted);
    this.element = h("div", { class: "site-editor" }, h("section", { class: "stack", "aria-label": strings.file },
      h("div", { class: "head" }, h("h2", {}, h("label", { htmlFor: "site-text" }, strings.file)), h("div", { class: "row" },
        h("button", { type: "button", onclick: () => void copy(this.area) }, strings.copy),
        h("button", { type: "button", onclick: () => save(this.area.value) }, strings.download),
        this.choose, this.upload)),
      this.area, h("p", { class: "small muted", id: "site-hint" }, strings.hint), h("div", { class: "row" }, this.compare, this.reset)),
    this.result.element);
    this.#mark();
    void this.#watch(file.interrupted);
  }

  end() {
    draft = this.area.value === this.#running ? "" : this.area.value;
    this.#ended.abort();
  }

  #mark() {
    this.reset.hidden = this.area.value === this.#running;
  }

  /** A comparison is of one text: another one needs its own. */
  #edited() {
    this.#turn += 1;
    this.#mark();
    if (this.#compared) this.result.outdated();
    this.#compared = null;
  }

  async #take() {
    const [file] = this.upload.files ?? [];
    this.upload.value = "";
    if (!file) return;
    if (file.size > MOST) return toast(strings.tooLong, "bad");
    this.area.value = await file.text();
    this.#edited();
    await this.#compare();
  }

  async #reset() {
    if (!(await confirm(strings.resetAsk, strings.reset))) return;
    this.area.value = this.#running;
    this.#edited();
    this.result.clear();
  }

  async #compare() {
    if (this.area.value.length > MOST) return toast(strings.tooLong, "bad");
    const turn = ++this.#turn;
    this.#compared = null;
    this.result.busy(strings.comparing);
    try {
      const found = /** @type {Compared} */ (await post("site/compare", { text: this.area.value, prune: this.result.prune }, this.#ended.signal));
      if (turn !== this.#turn) return;
      this.#compared = found.mistakes.length ? null : found;
      this.result.show(found);
    } catch (error) {
      if (turn === this.#turn) this.result.failed(errorText(error));
    }
  }

  async #apply() {
    const compared = this.#compared;
    if (!compared) return;
    if (compared.removed && !(await confirm(strings.removeAsk(compared.removed), strings.removeAction(compared.removed)))) return;
    const body = { text: this.area.value, prune: this.result.prune, token: compared.token };
    this.#compared = null;
    this.#lock(true);
    this.result.busy(strings.applying(""));
    const polling = new AbortController();
    void repeat(() => this.#progress(polling.signal), EVERY_MS, polling.signal);
    try {
      const done = /** @type {Applied} */ (await post("site/apply", body));
      await this.#applied(done);
    } catch (error) {
      this.result.failed(errorText(error));
    } finally {
      polling.abort();
      this.#lock(false);
    }
  }

  /** @param {Applied} done */
  async #applied(done) {
    const lines = [strings.done(strings.summary(done.added, done.changed, done.removed)), ...done.notes];
    const file = /** @type {SiteFile | null} */ (await get("site").catch(() => null));
    if (file) this.area.value = file.text;
    else lines.push(strings.notReloaded);
    this.#running = this.area.value;
    draft = "";
    this.#mark();
    this.result.interrupted(file?.interrupted ?? "");
    this.result.done(lines);
  }

  /** @param {AbortSignal} signal */
  async #progress(signal) {
    const run = /** @type {Applied | null} */ (await get("site/apply", {}, signal).catch(() => null));
    if (run?.state === "runs" && !signal.aborted) this.result.busy(strings.applying(run.doing), run.doing);
  }

  /** Show an apply that another person, or another page, began. @param {string} first shown if there is none */
  async #watch(first) {
    const signal = this.#ended.signal;
    let shown = false;
    for (;;) {
      const run = /** @type {Applied | null} */ (await get("site/apply", {}, signal).catch(() => null));
      if (signal.aborted) return;
      if (run?.state !== "runs") return this.result.interrupted(shown ? strings.otherEnded : first);
      shown = true;
      this.result.interrupted(strings.otherRuns(run.by, run.doing));
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  /** @param {boolean} locked */
  #lock(locked) {
    this.area.readOnly = locked;
    for (const control of [this.compare, this.reset, this.choose, this.upload]) control.disabled = locked;
    this.result.lock(locked);
    if (!locked) setText(this.compare, strings.compare);
  }
}
