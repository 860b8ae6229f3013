/** Scaling: what runs now and why, and what would have been with other settings. */

import { errorText, get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { emptyNote } from "../parts/messages.js";
import { Answer } from "./answer.js";
import { Form } from "./form.js";
import { Job } from "./job.js";
import { services } from "./now.js";
import { strings } from "./strings.js";

const POLL_MS = 3000;

/** @type {import("../shell.js").Show} */
export async function show(main, _route, shell) {
  const texts = strings.now;
  const now = h("div", { class: "scaling-now" }, h("p", { class: "muted" }, texts.loading));
  const whatif = h("section", { class: "stack", "aria-label": strings.form.title });
  fill(main, h("div", { class: "head" }, h("h1", {}, strings.title)),
    h("section", { class: "stack", "aria-label": texts.title }, h("h2", {}, texts.title), now), whatif);

  const seesAll = shell.me.cameras === null;
  let ended = false;
  /** @type {any} */
  let reply = null;
  const load = async () => {
    try {
      reply = await get("scaling");
      if (!ended && !isSelected(now)) services(now, reply);
    } catch (error) {
      if (!ended) fill(now, emptyNote(errorText(error)));
    }
  };
  if (seesAll) await load();
  else fill(now, emptyNote(texts.notAll));
  const timer = setInterval(() => seesAll && !document.hidden && void load(), POLL_MS);
  const leave = shell.may("operator") ? await simulate(whatif, reply) : (refuse(whatif), () => {});
  return () => {
    ended = true;
    clearInterval(timer);
    leave();
  };
}

/** Whether a part of its text is selected. @param {HTMLElement} element */
function isSelected(element) {
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && element.contains(selection.anchorNode));
}

/** @param {HTMLElement} section */
function refuse(section) {
  fill(section, h("h2", {}, strings.form.title), emptyNote(strings.form.needsOperator));
}

/**
 * The form, the simulation that runs, and what came of it.
 * @param {HTMLElement} section
 * @param {any} now what the scalers say; null where one may not know
 */
async function simulate(section, now) {
  const place = h("div", { class: "stack" });
  /** @type {Answer | null} */
  let answer = null;
  const clear = () => {
    answer?.end();
    answer = null;
    fill(place);
  };
  const job = new Job({
    started: () => {
      clear();
      form.busy(true);
    },
    done: (/** @type {any} */ ended) => {
      form.busy(false);
      clear();
      if (ended?.answer) {
        answer = new Answer(ended);
        fill(place, answer.element);
      } else if (ended) form.mistake(ended.error, ended.field);
    },
  });
  const form = new Form(now, async (request) => job.start(request));
  fill(section, h("h2", {}, strings.form.title), h("p", { class: "muted" }, strings.form.lead), form.element, job.element, place);
  await job.resume().catch(() => {});
  return () => {
    job.end();
    answer?.end();
  };
}
