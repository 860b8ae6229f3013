/** A camera's rules: drawn over its picture, filled in, or written, which is all the same value. */

import { errorText, get, post, remove, request, url } from "../api.js";
import { confirm } from "../parts/dialog.js";
import { fill, h, setText } from "../parts/dom.js";
import { toast } from "../parts/toast.js";
import { to } from "../router.js";
import { Drawing } from "./drawing.js";
import { RulePreview } from "./preview.js";
import { rules as texts } from "./rule-strings.js";
import { RuleForms } from "./ruleforms.js";
import { RuleText } from "./ruletext.js";
import { ShapeList } from "./shapelist.js";
import { addShape, part, withPoints } from "./shapes.js";

/** @typedef {import("./shapes.js").Rules} Rules */
/** @typedef {import("./shapes.js").Shape} Shape */

const CHECK_MS = 200;
const MOST_UNDONE = 100;
const WIDTH = 1280;
const CONFLICT = 409;

/** Changes that were not saved when the page was left, by camera. @type {Map<string, {rules: Rules, revision: number}>} */
const drafts = new Map();

/** @param {HTMLElement} main @param {string} camera @param {import("../shell.js").Shell} shell */
export async function showRules(main, camera, shell) {
  const [stored, schema, one] = await Promise.all([get(`cameras/${camera}/rules`), get("rules/schema"), get(`cameras/${camera}`)]);
  const editor = new Editor(main, camera, schema, !shell.may("operator"));
  editor.begin(stored, Object.keys(one.now.seen));
  return () => editor.end();
}

class Editor {
  /** @type {Rules} */
  #rules = {};
  #revision = 0;
  #stored = "{}";
  /** @type {Shape | null} */
  #selected = null;
  /** @type {Rules[]} */
  #undo = [];
  /** The mistakes that the last check found. @type {any[]} */
  #wrong = [];
  /** What there was before a corner began to move. @type {Rules | null} */
  #before = null;
  #checking = new AbortController();
  #timer = 0;

  /** @param {HTMLElement} main @param {string} camera @param {any} schema @param {boolean} readOnly */
  constructor(main, camera, schema, readOnly) {
    this.camera = camera;
    this.readOnly = readOnly;
    this.drawing = new Drawing({
      move: (shape, corners, done) => !readOnly && this.#move(shape, corners, done),
      add: (kind, corners) => this.#add(kind, corners),
      select: (shape) => this.#select(shape),
    });
    this.shapes = new ShapeList((rules, shape) => this.#commit(rules, shape), (shape) => this.#select(shape), readOnly);
    this.forms = new RuleForms(schema, (rules, again) => this.#commit(rules, this.#selected, again), readOnly);
    this.text = new RuleText((text) => this.#check({ text }), readOnly);
    this.trial = new RulePreview(camera, (time) => this.#picture(time));
    this.status = h("p", { class: "small muted", role: "status" });
    this.save = h("button", { type: "button", class: "primary", onclick: () => void this.#save() }, texts.save);
    this.undo = h("button", { type: "button", onclick: () => this.#undoLast() }, texts.undo);
    fill(main, this.#head(), this.#body());
  }

  #head() {
    return h("div", { class: "head" }, h("h1", {}, texts.title(this.camera)),
      h("div", { class: "row" }, this.status,
        this.readOnly ? null : [this.undo, this.save, h("button", { type: "button", class: "danger", onclick: () => void this.#remove() }, texts.remove)],
        h("a", { class: "button", href: to("cameras", [this.camera]) }, texts.back)));
  }

  #body() {
    const kinds = /** @type {const} */ (["zones", "masks", "lines"]);
    const hint = h("p", { class: "small muted", hidden: true }, texts.drawHint);
    const tools = kinds.map((kind) => h("button", { type: "button", onclick: () => {
      hint.hidden = false;
      this.drawing.begin(kind);
    } }, texts.draw[kind] ?? ""));
    const newest = h("button", { type: "button", onclick: () => this.#picture() }, texts.newest);
    return h("div", { class: "editor" },
      h("div", { class: "stack" }, this.readOnly ? h("p", { class: "muted" }, texts.readOnly) : h("div", { class: "row" }, tools, newest), hint, this.drawing.element,
        h("section", { class: "stack" }, h("h2", {}, texts.shapes), this.shapes.element)),
      h("div", { class: "stack" }, this.forms.element, this.readOnly ? null : this.trial.element, this.text.element));
  }

  /** @param {any} stored @param {string[]} labels that are seen now */
  begin(stored, labels) {
    const draft = drafts.get(this.camera);
    this.#revision = draft?.revision ?? stored.revision;
    this.#stored = JSON.stringify(stored.rules ?? {});
    this.#rules = draft?.rules ?? stored.rules ?? {};
    this.forms.know(labels);
    this.#picture();
    this.#render();
    this.text.show(stored.text);
    if (stored.mistakes.length) this.#mistakes(stored.mistakes);
    else this.#check({ rules: this.#rules }, 0);
  }

  end() {
    if (this.#isChanged) drafts.set(this.camera, { rules: this.#rules, revision: this.#revision });
    else drafts.delete(this.camera);
    clearTimeout(this.#timer);
    this.#checking.abort();
    this.trial.end();
    this.drawing.end();
  }

  get #isChanged() {
    return JSON.stringify(this.#rules) !== this.#stored;
  }

  /** The newest picture, or that of a time. @param {string} [at] */
  #picture(at) {
    this.drawing.image.src = url(`cameras/${this.camera}/picture`, { width: WIDTH, at });
  }

  // ---- changes

  /** @param {Shape} shape @param {import("./shapes.js").Point[]} corners @param {boolean} done */
  #move(shape, corners, done) {
    const rules = withPoints(this.#rules, shape, corners);
    if (done) this.#commit(rules, shape, false);
    else {
      this.#before ??= this.#rules;
      this.#rules = rules;
      this.drawing.show(rules, shape);
    }
  }

  /** @param {import("./shapes.js").Kind} kind @param {import("./shapes.js").Point[]} corners */
  #add(kind, corners) {
    const [rules, shape] = addShape(this.#rules, kind, corners);
    this.#commit(rules, shape);
    /** @type {HTMLElement | null} */ (this.drawing.svg.querySelector("[data-corner='0']"))?.focus();
  }

  /** @param {Rules} rules @param {Shape | null} shape that is chosen then @param {boolean} [again] whether the forms must be rebuilt */
  #commit(rules, shape, again = true) {
    const before = this.#before ?? this.#rules;
    this.#before = null;
    if (JSON.stringify(before) === JSON.stringify(rules)) return this.#render(false);
    this.#undo = [...this.#undo.slice(1 - MOST_UNDONE), before];
    this.#rules = rules;
    this.#selected = shape && part(rules, shape) ? shape : null;
    this.#render(again);
    this.#check({ rules });
  }

  #undoLast() {
    const before = this.#undo.pop();
    if (!before) return;
    this.#rules = before;
    if (this.#selected && !part(before, this.#selected)) this.#selected = null;
    this.#render();
    this.#check({ rules: before });
  }

  /** @param {Shape | null} shape */
  #select(shape) {
    this.#selected = shape;
    this.#render(false);
  }

  #render(again = true) {
    this.drawing.show(this.#rules, this.#selected);
    this.shapes.show(this.#rules, this.#selected);
    if (again) this.forms.show(this.#rules);
    else this.forms.keep(this.#rules);
    this.undo.disabled = !this.#undo.length;
    this.#mistakes(this.#wrong);
    const changed = this.#isChanged ? texts.unsaved : "";
    setText(this.status, changed);
  }

  // ---- what the console says of them

  /** @param {{rules?: Rules, text?: string}} what @param {number} [pause] */
  #check(what, pause = CHECK_MS) {
    clearTimeout(this.#timer);
    this.#checking.abort();
    this.#checking = new AbortController();
    this.trial.end();
    const { signal } = this.#checking;
    this.#timer = setTimeout(() => void this.#runCheck(what, signal), pause);
  }

  /** @param {{rules?: Rules, text?: string}} what @param {AbortSignal} signal */
  async #runCheck(what, signal) {
    try {
      const reply = await post("rules/check", what, signal);
      if (signal.aborted) return;
      this.#mistakes(reply.mistakes);
      if (what.rules) this.text.show(reply.text);
      else if (reply.rules) this.#takeText(reply.rules);
      if (reply.rules && !this.readOnly) this.trial.ask(reply.rules);
    } catch (error) {
      if (!signal.aborted) toast(texts.notReached(errorText(error)), "bad");
    }
  }

  /** Take rules that were edited as text. @param {Rules} rules */
  #takeText(rules) {
    if (JSON.stringify(rules) === JSON.stringify(this.#rules)) return;
    this.#undo = [...this.#undo.slice(1 - MOST_UNDONE), this.#rules];
    this.#rules = rules;
    if (this.#selected && !part(rules, this.#selected)) this.#selected = null;
    this.#render();
  }

  /** @param {any[]} mistakes */
  #mistakes(mistakes) {
    this.#wrong = mistakes;
    this.text.mistakes(mistakes);
    this.forms.mistakes(mistakes.filter((one) => !/^(zones|masks|lines)\b/.test(one.path)));
    this.shapes.mistakes(mistakes.filter((one) => /^(zones|masks|lines)\b/.test(one.path)));
    this.save.disabled = mistakes.length > 0;
  }

  async #save() {
    this.save.disabled = true;
    try {
      const answer = await request("PUT", `cameras/${this.camera}/rules`, { body: { rules: this.#rules, revision: this.#revision } });
      this.#load(await answer.json());
      toast(texts.saved);
    } catch (error) {
      toast(/** @type {any} */ (error).status === CONFLICT ? texts.changed : errorText(error), "bad");
    } finally {
      this.save.disabled = false;
    }
  }

  async #remove() {
    if (!(await confirm(texts.removeAsk(this.camera), texts.remove))) return;
    try {
      await remove(`cameras/${this.camera}/rules`);
      this.#load(await get(`cameras/${this.camera}/rules`));
      toast(texts.removed);
    } catch (error) {
      toast(errorText(error), "bad");
    }
  }

  /** What is stored now. @param {any} stored */
  #load(stored) {
    this.#revision = stored.revision;
    this.#rules = stored.rules ?? {};
    this.#stored = JSON.stringify(this.#rules);
    this.#render();
    this.text.show(stored.text);
    this.#check({ rules: this.#rules }, 0);
  }
}
