/** Find: moments by words, by a picture, by what is like one found before, or by labels. */

import { ApiError, errorText, get, post, request } from "../api.js";
import { cameraIds } from "../parts/cameras.js";
import { fill, h } from "../parts/dom.js";
import { saveFile } from "../parts/download.js";
import { number } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { toast, toastError } from "../parts/toast.js";
import { replaceQuery } from "../router.js";
import { card, clipName, clipUrl, dataUrl } from "./cards.js";
import { Form } from "./form.js";
import { base64, pictureOf, readPicture } from "./picture.js";
import { fromAddress, isComplete, toAddress, toApi } from "./query.js";
import { SavedSearches } from "./saved.js";
import { strings } from "./strings.js";

/** @typedef {import("./cards.js").Moment} Moment */

const NOBODY = 503;

class Find {
  #ended = new AbortController();
  #request = new AbortController();
  /** @type {Moment[]} */
  #moments = [];
  /** Labels in the index; null until they are loaded. @type {string[] | null} */
  #labels = null;

  constructor() {
    this.form = new Form({ find: () => void this.find(), file: (file) => void this.#file(file) });
    this.saved = new SavedSearches((search) => this.#show(search, ""));
    this.tally = h("p", { class: "muted", role: "status" });
    this.note = h("p", { class: "small muted", hidden: true });
    this.state = emptyNote(strings.start);
    this.grid = h("ul", { class: "grid moments", "aria-label": strings.results });
    this.save = h("button", { type: "button", onclick: () => this.#save() }, strings.save);
    this.csv = h("button", { type: "button", onclick: () => void this.#csv() }, strings.exportCsv);
    this.clips = h("button", { type: "button", onclick: () => void this.#clips() });
    this.actions = h("div", { class: "row", hidden: true }, this.save, this.csv, this.clips);
  }

  /** @param {HTMLElement} main @param {URLSearchParams} query */
  begin(main, query) {
    fill(main, h("div", { class: "head" }, h("h1", {}, strings.title), this.saved.element), this.form.element,
      h("div", { class: "head" }, this.tally, this.actions), this.note, this.state, this.grid);
    const paste = (/** @type {ClipboardEvent} */ event) => {
      const file = pictureOf(event.clipboardData);
      if (!file) return;
      event.preventDefault();
      void this.#file(file);
    };
    document.addEventListener("paste", paste);
    this.form.show(fromAddress(query));
    void this.#loadNames();
    void this.find();
    return () => {
      this.#ended.abort();
      this.#request.abort();
      document.removeEventListener("paste", paste);
    };
  }

  async find() {
    this.#request.abort();
    const { search } = this.form;
    const image = this.form.byPicture ? base64(this.form.picture) : "";
    replaceQuery(toAddress(search));
    if (!isComplete(search, image)) return this.#nothing(strings.start);
    const request = (this.#request = new AbortController());
    this.grid.setAttribute("aria-busy", "true");
    this.tally.textContent = strings.searching;
    try {
      const reply = await post("find", toApi(search, image), request.signal);
      if (!request.signal.aborted) this.#showResults(reply);
    } catch (error) {
      if (!request.signal.aborted) this.#failed(error);
    } finally {
      if (!request.signal.aborted) this.grid.removeAttribute("aria-busy");
    }
  }

  /** What there is to filter by. */
  async #loadNames() {
    const { signal } = this.#ended;
    this.saved.refresh().catch((error) => toastError(error, this.#ended.signal));
    cameraIds(signal).then((ids) => this.form.cameras.suggest(ids), () => {});
    try {
      const { labels } = await get("find/labels", {}, signal);
      this.#labels = labels;
      this.form.labels.suggest(labels);
      if (!labels.length && this.state.textContent === strings.start) this.state.textContent = strings.indexEmpty;
    } catch (error) {
      if (!signal.aborted && !isComplete(this.form.search)) this.#failed(error);
    }
  }

  /** @param {import("./query.js").Search} search @param {string} picture */
  #show(search, picture) {
    this.form.show(search, picture);
    void this.find();
    window.scrollTo({ top: 0 });
  }

  /** @param {{moments: Moment[], model: string | null, pending: number | null, note: string | null}} found */
  #showResults({ moments, pending, note }) {
    if (!moments.length) this.#nothing(this.#labels?.length === 0 && !this.form.search.cameras.length ? strings.indexEmpty : strings.none);
    else {
      this.#moments = moments;
      this.state.hidden = true;
      this.tally.textContent = strings.count(moments.length);
      fill(this.grid, moments.map((moment) => card(moment, (one) => this.#like(one))));
    }
    const available = this.#moments.filter((moment) => moment.kept).length;
    this.actions.hidden = false;
    this.csv.hidden = !moments.length;
    this.clips.hidden = !available;
    this.clips.textContent = strings.clips(available);
    this.#note([note, pending ? strings.pending(number(pending)) : ""].filter(Boolean).join(" "));
  }

  /** @param {string} why there is nothing to show */
  #nothing(why) {
    this.#moments = [];
    fill(this.grid);
    this.tally.textContent = "";
    this.#note("");
    this.actions.hidden = true;
    this.state.hidden = false;
    this.state.textContent = why;
  }

  /** @param {string} text */
  #note(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  /** @param {unknown} error */
  #failed(error) {
    const nobody = error instanceof ApiError && error.status === NOBODY;
    this.#nothing(nobody ? `${strings.nobody} ${errorText(error)}` : errorText(error));
  }

  /** @param {Moment} moment */
  #like(moment) {
    this.#show({ ...this.form.search, text: "", like: moment.id ?? "" }, dataUrl(moment.picture));
  }

  /** @param {Blob} file */
  async #file(file) {
    try {
      const picture = await readPicture(file);
      if (!this.#ended.signal.aborted) this.#show({ ...this.form.search, text: "", like: "" }, picture);
    } catch {
      toast(strings.noPicture, "bad");
    }
  }

  #save() {
    if (this.form.byPicture) toast(strings.noPictureSaved, "bad");
    else this.saved.save(this.form.search);
  }

  async #csv() {
    try {
      const body = toApi(this.form.search, this.form.byPicture ? base64(this.form.picture) : "");
      saveFile(await (await request("POST", "find/export", { body })).blob(), "found.csv");
    } catch (error) {
      toastError(error, this.#ended.signal);
    }
  }

  /** One after the other: the console builds each clip on request. */
  async #clips() {
    const available = this.#moments.filter((moment) => moment.kept);
    const { signal } = this.#ended;
    this.clips.disabled = true;
    let saved = 0;
    for (const moment of available) {
      const answer = await fetch(clipUrl(moment), { credentials: "same-origin", signal }).catch(() => null);
      if (signal.aborted) return;
      if (!answer?.ok) continue;
      saveFile(await answer.blob(), clipName(moment));
      saved += 1;
    }
    this.clips.disabled = false;
    toast(strings.clipsDone(saved, available.length - saved), saved < available.length ? "bad" : "");
  }
}

/** @type {import("../shell.js").Show} */
export async function show(main, route) {
  return new Find().begin(main, route.query);
}
