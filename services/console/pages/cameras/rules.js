/** A camera's rules: drawn over its picture, filled in, or written, which is all the same value. */

import { ask, get, post, remove, sentence, url } from "../api.js";
import { confirm } from "../parts/dialog.js";
import { fill, h } from "../parts/dom.js";
import { toast } from "../parts/toast.js";
import { to } from "../router.js";
import { Drawing } from "./drawing.js";
import { rules as said } from "./rule-strings.js";
import { RuleForms } from "./ruleforms.js";
import { RuleText } from "./ruletext.js";
import { ShapeList } from "./shapelist.js";
import { added, part, withPoints } from "./shapes.js";
import { Trial } from "./trial.js";

/** @typedef {import("./shapes.js").Rules} Rules */
/** @typedef {import("./shapes.js").Shape} Shape */

const CHECK_MS = 200;
const MOST_UNDONE = 100;
const WIDTH = 1280;
const CONFLICT = 409;

/** Changes that were not saved when the page was left, by camera. @type {Map<string, {rules: Rules, revision: number}>} */
const left = new Map();

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
  /** What is wrong, as far as is known. @type {any[]} */
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
      move: (shape, corners, done) => !readOnly && this.#moved(shape, corners, done),
      add: (kind, corners) => this.#added(kind, corners),
      select: (shape) => this.#select(shape),
    });
    this.shapes = new ShapeList((rules, shape) => this.#commit(rules, shape), (shape) => this.#select(shape), readOnly);
    this.forms = new RuleForms(schema, (rules, again) => this.#commit(rules, this.#selected, again), readOnly);
    this.text = new RuleText((text) => this.#check({ text }), readOnly);
    this.trial = new Trial(camera, (time) => this.#picture(time));
    this.said = h("p", { class: "small muted", role: "status" });
    this.save = h("button", { type: "button", class: "primary", onclick: () => void this.#save() }, said.save);
    this.undo = h("button", { type: "button", onclick: () => this.#undone() }, said.undo);
    fill(main, this.#head(), this.#body());
  }

  #head() {
    return h("div", { class: "head" }, h("h1", {}, said.title(this.camera)),
      h("div", { class: "row" }, this.said,
        this.readOnly ? null : [this.undo, this.save, h("button", { type: "button", class: "danger", onclick: () => void this.#remove() }, said.remove)],
        h("a", { class: "button", href: to("cameras", [this.camera]) }, said.back)));
  }

  #body() {
    const kinds = /** @type {const} */ (["zones", "masks", "lines"]);
    const hint = h("p", { class: "small muted", hidden: true }, said.drawHint);
    const tools = kinds.map((kind) => h("button", { type: "button", onclick: () => {
      hint.hidden = false;
      this.drawing.begin(kind);
    } }, said.draw[kind] ?? ""));
    const newest = h("button", { type: "button", onclick: () => this.#picture() }, said.newest);
    return h("div", { class: "editor" },
      h("div", { class: "stack" }, this.readOnly ? h("p", { class: "muted" }, said.readOnly) : h("div", { class: "row" }, tools, newest), hint, this.drawing.element,
        h("section", { class: "stack" }, h("h2", {}, said.shapes), this.shapes.element)),
      h("div", { class: "stack" }, this.forms.element, this.readOnly ? null : this.trial.element, this.text.element));
  }

  /** @param {any} stored @param {string[]} labels that are seen now */
  begin(stored, labels) {
    const draft = left.get(this.camera);
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
    if (this.#isChanged) left.set(this.camera, { rules: this.#rules, revision: this.#revision });
    else left.delete(this.camera);
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
  #moved(shape, corners, done) {
    const rules = withPoints(this.#rules, shape, corners);
    if (done) this.#commit(rules, shape, false);
    else {
      this.#before ??= this.#rules;
      this.#rules = rules;
      this.drawing.show(rules, shape);
    }
  }

  /** @param {import("./shapes.js").Kind} kind @param {import("./shapes.js").Point[]} corners */
  #added(kind, corners) {
    const [rules, shape] = added(this.#rules, kind, corners);
    this.#commit(rules, shape);
    /** @type {HTMLElement | null} */ (this.drawing.svg.querySelector("[data-corner='0']"))?.focus();
  }

  /** @param {Rules} rules @param {Shape | null} shape that is chosen then @param {boolean} [again] whether forms have to be made anew */
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

  #undone() {
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
    const changed = this.#isChanged ? said.unsaved : "";
    if (this.said.textContent !== changed) this.said.textContent = changed;
  }

  // ---- what the console says of them

  /** @param {{rules?: Rules, text?: string}} what @param {number} [pause] */
  #check(what, pause = CHECK_MS) {
    clearTimeout(this.#timer);
    this.#checking.abort();
    this.#checking = new AbortController();
    this.trial.end();
    const { signal } = this.#checking;
    this.#timer = setTimeout(() => void this.#checked(what, signal), pause);
  }

  /** @param {{rules?: Rules, text?: string}} what @param {AbortSignal} signal */
  async #checked(what, signal) {
    try {
      const found = await post("rules/check", what, signal);
      if (signal.aborted) return;
      this.#mistakes(found.mistakes);
      if (what.rules) this.text.show(found.text);
      else if (found.rules) this.#written(found.rules);
      if (found.rules && !this.readOnly) this.trial.ask(found.rules);
    } catch (error) {
      if (!signal.aborted) toast(said.notReached(sentence(error)), "bad");
    }
  }

  /** Somebody has written them: they are drawn as they are written. @param {Rules} rules */
  #written(rules) {
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
      const answer = await ask("PUT", `cameras/${this.camera}/rules`, { body: { rules: this.#rules, revision: this.#revision } });
      this.#taken(await answer.json());
      toast(said.saved);
    } catch (error) {
      toast(/** @type {any} */ (error).status === CONFLICT ? said.changed : sentence(error), "bad");
    } finally {
      this.save.disabled = false;
    }
  }

  async #remove() {
    if (!(await confirm(said.removeAsk(this.camera), said.remove))) return;
    try {
      await remove(`cameras/${this.camera}/rules`);
      this.#taken(await get(`cameras/${this.camera}/rules`));
      toast(said.removed);
    } catch (error) {
      toast(sentence(error), "bad");
    }
  }

  /** What is stored now. @param {any} stored */
  #taken(stored) {
    this.#revision = stored.revision;
    this.#rules = stored.rules ?? {};
    this.#stored = JSON.stringify(this.#rules);
    this.#render();
    this.text.show(stored.text);
    this.#check({ rules: this.#rules }, 0);
  }
}
