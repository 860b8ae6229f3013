/** The search form: words, a picture or a moment; and filters, each a token once chosen. */

import { h } from "../parts/dom.js";
import { clock } from "../parts/format.js";
import { SpanField } from "../parts/timespan.js";
import { NameField, Tokens } from "../parts/tokens.js";
import { pictureOf } from "./picture.js";
import { nothing } from "./query.js";
import { strings } from "./strings.js";

/** @typedef {import("./query.js").Search} Search */

export class Form {
  search = nothing();
  /** A data URL, and what it is: none, one to look for, or a moment's. */
  picture = "";

  /**
   * @param {{find: () => void, file: (file: Blob) => void}} handlers
   */
  constructor(handlers) {
    this.handlers = handlers;
    this.words = h("input", { type: "search", name: "text", placeholder: strings.hint, maxLength: 1000, enterKeyHint: "search" });
    this.cameras = new NameField(strings.camera, strings.cameraHint, (name) => this.#add("cameras", name));
    this.labels = new NameField(strings.label, strings.labelHint, (name) => this.#add("labels", name));
    this.span = new SpanField(strings.span, () => this.#changed(this.span.value));
    this.score = h("input", { type: "number", name: "score", min: "0", max: "1", step: "0.05", placeholder: strings.scoreHint,
      onchange: () => this.#changed({ score: this.score.value }) });
    this.most = h("select", { name: "k", onchange: () => this.#changed({ k: this.most.value }) }, ["12", "24", "48", "100"].map((n) => h("option", { value: n }, n)));
    this.tokens = new Tokens(strings.chosen);
    this.file = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => this.#files() });
    this.element = this.#form();
  }

  /** Whether the picture is one to look for, and no moment's. */
  get byPicture() {
    return Boolean(this.picture) && !this.search.like;
  }

  /** @param {Search} search @param {string} [picture] */
  show(search, picture = "") {
    this.search = search;
    this.picture = picture;
    this.words.value = search.text;
    this.span.value = search;
    this.score.value = search.score;
    if (![...this.most.options].some((option) => option.value === search.k)) this.most.append(h("option", { value: search.k }, search.k));
    this.most.value = search.k;
    this.#tokens();
  }

  #form() {
    const form = h("form", { class: "card stack find", role: "search", "aria-label": strings.search },
      h("label", { class: "field" }, strings.words, h("span", { class: "row line" }, this.words, h("button", { class: "primary" }, strings.go))),
      h("div", { class: "row small" },
        h("button", { type: "button", onclick: () => this.file.click() }, strings.picture), this.file, h("span", { class: "muted" }, strings.drop)),
      this.tokens.element,
      h("details", { open: matchMedia("(min-width: 900px)").matches }, h("summary", {}, strings.filters),
        h("div", { class: "filters" }, this.cameras.element, this.labels.element, this.span.element,
          h("label", { class: "field" }, strings.score, this.score), h("label", { class: "field" }, strings.most, this.most))));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.search = { ...this.search, text: this.words.value };
      // Words replace the picture.
      if (this.words.value.trim()) this.#forget();
      this.handlers.find();
    });
    form.addEventListener("dragover", (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
    form.addEventListener("dragleave", () => form.classList.remove("over"));
    form.addEventListener("drop", (event) => {
      event.preventDefault();
      form.classList.remove("over");
      const file = pictureOf(event.dataTransfer);
      if (file) this.handlers.file(file);
    });
    return form;
  }

  #files() {
    const file = this.file.files?.[0];
    this.file.value = "";
    if (file) this.handlers.file(file);
  }

  #forget() {
    this.picture = "";
    this.search = { ...this.search, like: "" };
    this.#tokens();
  }

  /** @param {"cameras" | "labels"} list @param {string} name */
  #add(list, name) {
    if (!this.search[list].includes(name)) this.#changed({ [list]: [...this.search[list], name] });
  }

  /** @param {Partial<Search>} changed */
  #changed(changed) {
    this.show({ ...this.search, text: this.words.value, ...changed }, this.picture);
    this.handlers.find();
  }

  #tokens() {
    const { like, cameras, labels, since, until, last, score } = this.search;
    const without = (/** @type {"cameras" | "labels"} */ list, /** @type {string} */ name) =>
      () => this.#changed({ [list]: this.search[list].filter((other) => other !== name) });
    /** @type {(import("../parts/tokens.js").Token | null)[]} */
    const all = [
      like || this.picture
        ? { text: like ? strings.byMoment : strings.byPicture, picture: this.picture, remove: () => { this.#forget(); this.handlers.find(); } }
        : null,
      ...cameras.map((name) => ({ text: strings.ofCamera(name), remove: without("cameras", name) })),
      ...labels.map((name) => ({ text: strings.ofLabel(name), remove: without("labels", name) })),
      last ? { text: this.span.select.selectedOptions[0]?.text ?? last, remove: () => this.#changed({ last: "" }) } : null,
      since ? { text: strings.since(clock(since)), remove: () => this.#changed({ since: "" }) } : null,
      until ? { text: strings.until(clock(until)), remove: () => this.#changed({ until: "" }) } : null,
      score ? { text: strings.ofScore(score), remove: () => this.#changed({ score: "" }) } : null,
    ];
    this.tokens.show(all.filter((token) => token !== null));
  }
}
