/** A camera's address and settings: its picture is shown before it is saved, and each mistake at its field. */

import { errorText, get, patch, post, request } from "../api.js";
import { confirm } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { mistakeLine } from "../parts/messages.js";
import { toast } from "../parts/toast.js";
import { to } from "../router.js";
import { Fields } from "./fields.js";
import { causes, form as texts, strings } from "./strings.js";

/** @param {HTMLElement} main @param {string | null} id null: a new camera */
export async function showForm(main, id) {
  const leaving = new AbortController();
  const camera = id ? await get(`cameras/${id}`) : null;
  new CameraForm(main, id, camera, leaving.signal);
  return () => leaving.abort();
}

class CameraForm {
  // The address that was tried last, and whether a picture came.
  #testedAddress = "";
  #hasPicture = false;

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
    this.mistake = mistakeLine();
    this.tryIt = id ? h("button", { type: "button", onclick: () => void this.#try() }, texts.try) : null;
    this.save = h("button", { class: "primary" });
    const form = h("form", { class: "stack camera-form", noValidate: true }, this.fields.element, this.picture, this.mistake,
      h("div", { class: "row" }, this.save, this.tryIt, this.#forget(), h("a", { class: "button", href: id ? to("cameras", [id]) : to("cameras") }, strings.cancel)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    form.addEventListener("input", () => this.#label());
    this.#label();
    fill(main, h("h1", {}, id ? texts.title(id) : texts.titleNew), form);
    this.fields.focus();
  }

  #forget() {
    if (!this.id || !this.had) return null;
    return h("button", { type: "button", class: "danger", onclick: async () => {
      if (await confirm(texts.forgetAsk, texts.forget)) await this.#send(() => patch(`cameras/${this.id}`, { password: null }));
    } }, texts.forget);
  }

  /** Whether its picture is to be seen before it is saved. */
  get #isNew() {
    const address = this.fields.address();
    return Boolean(address) && !/^file:/i.test(this.fields.value("url")) && this.#testedAddress !== address;
  }

  /** The button says what it does. */
  #label() {
    const usual = this.id ? strings.saveIt : texts.addNow;
    const isUnseen = this.fields.address() && this.#testedAddress === this.fields.address() && !this.#hasPicture;
    this.save.textContent = this.#isNew ? texts.try : isUnseen ? (this.id ? texts.saveAnyway : texts.addAnyway) : usual;
  }

  /** Open it once, and show what comes. */
  async #try() {
    this.#clear();
    const body = this.fields.testRequest();
    if (this.id) body.camera = this.id;
    this.#testedAddress = this.fields.address();
    this.#hasPicture = false;
    this.#wait(true);
    fill(this.picture, h("p", { class: "muted" }, texts.trying));
    try {
      const result = await post("camera-tests", body, this.signal);
      this.#hasPicture = Boolean(result.picture);
      if (result.picture) this.#show(result);
      else this.#explain(result.cause, result.error);
    } catch (error) {
      this.#testedAddress = "";
      fill(this.picture);
      this.#refused(error);
    } finally {
      this.#wait(false);
      this.#label();
    }
  }

  /** @param {boolean} isWaiting */
  #wait(isWaiting) {
    this.save.disabled = isWaiting;
    if (this.tryIt) this.tryIt.disabled = isWaiting;
  }

  /** @param {any} result */
  #show(result) {
    const image = h("img", { alt: texts.testPicture, src: `data:image/jpeg;base64,${result.picture}` });
    fill(this.picture, image, h("p", { class: "small muted" }, texts.testResult(result.codec, `${result.width}×${result.height}`, String(result.fps))));
  }

  /** @param {string} cause @param {string} error */
  #explain(cause, error) {
    fill(this.picture);
    const fault = causes[cause];
    this.fields.wrong(fault?.field ?? "url", fault?.text ?? error);
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
    const text = errorText(error);
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
  await request("DELETE", `cameras/${id}`);
  toast(strings.removed(id));
  location.hash = to("cameras");
}

/** @param {string} id @param {boolean} enabled */
export async function enableCamera(id, enabled) {
  if (!enabled && !(await confirm(strings.disabledAsk(id), strings.disable))) return;
  await patch(`cameras/${id}`, { enabled });
}
