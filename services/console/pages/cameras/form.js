/** A camera's address and settings: its picture is seen before it is saved, and a mistake stands beside its field. */

import { ask, get, patch, post, sentence } from "../api.js";
import { confirm } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { toast } from "../parts/toast.js";
import { to } from "../router.js";
import { Fields } from "./fields.js";
import { causes, form as said, strings } from "./strings.js";

/** @param {HTMLElement} main @param {string | null} id null: a new camera */
export async function showForm(main, id) {
  const leaving = new AbortController();
  const camera = id ? await get(`cameras/${id}`) : null;
  new CameraForm(main, id, camera, leaving.signal);
  return () => leaving.abort();
}

class CameraForm {
  // The address that was tried last, and whether a picture came.
  #tried = "";
  #shown = false;

  /**
   * @param {HTMLElement} main
   * @param {string | null} id
   * @param {any} camera
   * @param {AbortSignal} signal
   */
  constructor(main, id, camera, signal) {
    this.id = id;
    this.signal = signal;
    this.had = camera?.has_credentials ?? false;
    this.fields = new Fields(camera);
    this.picture = h("div", { class: "tried", "aria-live": "polite" });
    this.mistake = h("p", { class: "mistake", role: "alert" });
    this.tryIt = id ? h("button", { type: "button", onclick: () => void this.#try() }, said.try) : null;
    this.save = h("button", { class: "primary" });
    const form = h("form", { class: "stack camera-form", noValidate: true }, this.fields.element, this.picture, this.mistake,
      h("div", { class: "row" }, this.save, this.tryIt, this.#forget(), h("a", { class: "button", href: id ? to("cameras", [id]) : to("cameras") }, strings.cancel)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    form.addEventListener("input", () => this.#label());
    this.#label();
    fill(main, h("h1", {}, id ? said.title(id) : said.titleNew), form);
    this.fields.focus();
  }

  #forget() {
    if (!this.id || !this.had) return null;
    return h("button", { type: "button", class: "danger", onclick: async () => {
      if (await confirm(said.forgetAsk, said.forget)) await this.#send(() => patch(`cameras/${this.id}`, { password: null }));
    } }, said.forget);
  }

  /** Whether its picture is to be seen before it is saved. */
  get #isNew() {
    const address = this.fields.address();
    return Boolean(address) && !/^file:/i.test(this.fields.value("url")) && this.#tried !== address;
  }

  /** The button says what it does. */
  #label() {
    const usual = this.id ? strings.saveIt : said.addNow;
    const isUnseen = this.fields.address() && this.#tried === this.fields.address() && !this.#shown;
    this.save.textContent = this.#isNew ? said.try : isUnseen ? (this.id ? said.saveAnyway : said.addAnyway) : usual;
  }

  /** Open it once, and show what comes. */
  async #try() {
    this.#clear();
    const body = this.fields.tried();
    if (this.id) body.camera = this.id;
    this.#tried = this.fields.address();
    this.#shown = false;
    this.#wait(true);
    fill(this.picture, h("p", { class: "muted" }, said.trying));
    try {
      const found = await post("camera-tests", body, this.signal);
      this.#shown = Boolean(found.picture);
      if (found.picture) this.#show(found);
      else this.#explain(found.cause, found.error);
    } catch (error) {
      this.#tried = "";
      fill(this.picture);
      this.#refused(error);
    } finally {
      this.#wait(false);
      this.#label();
    }
  }

  /** @param {boolean} waits */
  #wait(waits) {
    this.save.disabled = waits;
    if (this.tryIt) this.tryIt.disabled = waits;
  }

  /** @param {any} found */
  #show(found) {
    const image = h("img", { alt: said.triedPicture, src: `data:image/jpeg;base64,${found.picture}` });
    fill(this.picture, image, h("p", { class: "small muted" }, said.tried(found.codec, `${found.width}×${found.height}`, String(found.fps))));
  }

  /** @param {string} cause @param {string} error */
  #explain(cause, error) {
    fill(this.picture);
    const known = causes[cause];
    this.fields.wrong(known?.field ?? "url", known?.text ?? error);
  }

  /** A new address shows its picture first. One that shows none may be saved all the same. */
  async #submit() {
    this.#clear();
    if (!this.fields.check()) return;
    if (this.#isNew) return this.#try();
    const body = this.fields.changed();
    if (!this.id) await this.#send(() => post("cameras", body));
    else if (!Object.keys(body).length) location.hash = to("cameras", [this.id]);
    else await this.#send(() => patch(`cameras/${this.id}`, body));
  }

  /** @param {() => Promise<any>} send */
  async #send(send) {
    this.save.disabled = true;
    try {
      const one = await send();
      toast(strings.saved(one.now.id));
      for (const notice of one.notices) toast(notice, "bad");
      location.hash = to("cameras", [one.now.id]);
    } catch (error) {
      this.#refused(error);
    } finally {
      this.save.disabled = false;
    }
  }

  /** @param {unknown} error */
  #refused(error) {
    const text = sentence(error);
    if (!this.fields.explain(text)) this.mistake.textContent = text;
  }

  #clear() {
    this.mistake.textContent = "";
    this.fields.clear();
  }
}

/** Turn a camera on or off, or forget it. @param {string} id */
export async function removeCamera(id) {
  if (!(await confirm(strings.removeAsk(id), strings.remove))) return;
  await ask("DELETE", `cameras/${id}`);
  toast(strings.removed(id));
  location.hash = to("cameras");
}

/** @param {string} id @param {boolean} enabled */
export async function enableCamera(id, enabled) {
  if (!enabled && !(await confirm(strings.disabledAsk(id), strings.disable))) return;
  await patch(`cameras/${id}`, { enabled });
}
