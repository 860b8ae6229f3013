/** The fields of a camera: what they hold, what of it is changed, and what is wrong with one. */

import { h } from "../parts/dom.js";
import { form as texts } from "./strings.js";

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */
/** @typedef {{control: Control, mistake: HTMLElement, was: any}} Field */

// What says where a camera is, and how it is reached: a change of these is tried before it is saved.
const REACH = ["url", "user", "password", "transport", "verify_tls"];
const NUMBERS = ["fps", "min_score", "caption_every_s"];

export class Fields {
  /** @type {Record<string, Field>} */
  #fields = {};

  /** @param {any} camera as the API returns it; null: a new one */
  constructor(camera) {
    const has = camera?.settings ?? {};
    this.isNew = !camera;
    const password = camera?.has_credentials ? texts.passwordStored : texts.passwordHint;
    this.element = h("div", { class: "stack" },
      this.isNew ? this.#text("id", texts.id, "", texts.idHint) : null,
      this.#text("url", texts.url, has.url, texts.urlHint, { type: "text", inputMode: "url", spellcheck: false }),
      h("div", { class: "grid" },
        this.#text("user", texts.user, "", texts.userHint, { autocomplete: "off" }),
        this.#text("password", texts.password, "", password, { type: "password", autocomplete: "new-password" })),
      h("div", { class: "grid" },
        this.#choice("transport", texts.transport, has.transport ?? "tcp", { tcp: "TCP", udp: "UDP" }),
        h("div", { class: "stack" }, this.#box("verify_tls", texts.verify, has.verify_tls ?? true), this.#box("enabled", texts.enabled, has.enabled ?? true))),
      this.#more(has));
  }

  /** @param {any} has */
  #more(has) {
    return h("details", {}, h("summary", {}, texts.more),
      h("div", { class: "stack" }, h("p", { class: "small muted" }, texts.moreHint),
        this.#text("detect", texts.detect, has.detect, texts.detectHint, { inputMode: "url", spellcheck: false }),
        h("div", { class: "grid" },
          this.#text("fps", texts.fps, has.fps, "", { type: "number", min: 0, step: "any" }),
          this.#text("min_score", texts.minScore, has.min_score, "", { type: "number", min: 0, max: 1, step: "any" }),
          this.#text("classes", texts.classes, has.classes?.join(", ")),
          this.#text("tiles", texts.tiles, has.tiles),
          this.#text("model", texts.model, has.model),
          this.#text("caption_every_s", texts.captionEvery, has.caption_every_s, "", { type: "number", min: 0, step: "any" })),
        this.#area("caption_prompt", texts.captionPrompt, has.caption_prompt),
        this.#box("always", texts.always, has.always ?? false), this.#box("priority", texts.priority, has.priority === "high"),
        this.#box("loop", texts.loop, has.loop ?? false), this.#box("realtime", texts.realtime, has.realtime ?? true)));
  }

  focus() {
    Object.values(this.#fields)[0]?.control.focus();
  }

  /** @param {string} name */
  value(name) {
    return this.#fields[name]?.control.value.trim() ?? "";
  }

  /** What would be tried, as one text; empty where nothing of it is changed. */
  address() {
    const changed = this.changed();
    return REACH.some((name) => name in changed) ? JSON.stringify(REACH.map((name) => changed[name])) : "";
  }

  /** What the API takes to try it. @returns {Record<string, any>} */
  testRequest() {
    const changed = this.changed();
    return Object.fromEntries(REACH.filter((name) => name in changed).map((name) => [name, changed[name]]));
  }

  /** What is other than it was, as the API takes it. @returns {Record<string, any>} */
  changed() {
    /** @type {Record<string, any>} */
    const changes = {};
    for (const [name, { control, was }] of Object.entries(this.#fields)) {
      const value = read(name, control);
      if (JSON.stringify(value) !== JSON.stringify(was)) changes[name] = value;
    }
    return changes;
  }

  /** @param {string} name @param {string} text */
  wrong(name, text) {
    const field = this.#fields[name] ?? this.#fields.url;
    if (!field) return;
    field.control.setAttribute("aria-invalid", "true");
    field.mistake.textContent = text;
    field.control.closest("details")?.setAttribute("open", "");
    field.control.focus();
  }

  /** Whether the required fields are filled in and the name is valid. */
  check() {
    if (this.isNew && !/^[A-Za-z0-9_-]{1,64}$/.test(this.value("id"))) this.wrong("id", texts.idWrong);
    else if (!this.value("url")) this.wrong("url", texts.urlMissing);
    else return true;
    return false;
  }

  /** Show an API error at the field that it names; return whether it names one. @param {string} text */
  explain(text) {
    const named = /^(?:camera )?([a-z_]+)(?:'s|:| is| has| names)/.exec(text)?.[1] ?? "";
    const name = named in this.#fields ? named : /password|\buser\b/.test(text) ? "password" : /already/.test(text) ? "id" : "";
    if (!(name in this.#fields)) return false;
    this.wrong(name, text);
    return true;
  }

  clear() {
    for (const { control, mistake } of Object.values(this.#fields)) {
      control.removeAttribute("aria-invalid");
      mistake.textContent = "";
    }
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {any} value
   * @param {string} [hint]
   * @param {Record<string, any>} [props]
   */
  #text(name, label, value, hint = "", props = {}) {
    return this.#field(name, label, h("input", { name, value: value ?? "", ...props }), hint);
  }

  /** @param {string} name @param {string} label @param {any} value */
  #area(name, label, value) {
    return this.#field(name, label, h("textarea", { name, rows: 3, value: value ?? "" }), "");
  }

  /** @param {string} name @param {string} label @param {string} value @param {Record<string, string>} choices */
  #choice(name, label, value, choices) {
    const options = Object.entries(choices).map(([key, text]) => h("option", { value: key, selected: key === value }, text));
    return this.#field(name, label, h("select", { name }, options), "");
  }

  /** @param {string} name @param {string} label @param {boolean} value */
  #box(name, label, value) {
    const control = h("input", { type: "checkbox", name, checked: value });
    const mistake = this.#keep(name, control);
    return h("div", {}, h("label", { class: "row" }, control, label), mistake);
  }

  /** @param {string} name @param {string} label @param {Control} control @param {string} hint */
  #field(name, label, control, hint) {
    const mistake = this.#keep(name, control);
    const id = `${name}-hint`;
    if (hint) control.setAttribute("aria-describedby", id);
    return h("div", { class: "field" }, h("label", { class: "field" }, label, control), hint ? h("span", { class: "hint", id }, hint) : null, mistake);
  }

  /** @param {string} name @param {Control} control */
  #keep(name, control) {
    const mistake = h("span", { class: "mistake", role: "alert", id: `${name}-mistake` });
    control.setAttribute("aria-errormessage", mistake.id);
    this.#fields[name] = { control, mistake, was: read(name, control) };
    return mistake;
  }
}

/** What a field says, as the API takes it; null: nothing. @param {string} name @param {Control} control */
function read(name, control) {
  if (control instanceof HTMLInputElement && control.type === "checkbox") {
    return name === "priority" ? (control.checked ? "high" : null) : control.checked;
  }
  const text = control.value.trim();
  if (!text) return null;
  if (NUMBERS.includes(name)) return Number(text);
  if (name === "classes") return text.split(",").map((label) => label.trim()).filter(Boolean);
  return name === "password" ? control.value : text;
}
