/** The commands that measure and choose, to copy. */

import { copy } from "../parts/copy.js";
import { h } from "../parts/dom.js";
import { strings } from "./strings.js";

const texts = strings.commands;
const COMMANDS = {
  add: "tidegate model add /models/yard.onnx --name yard --fps 2 --latency-target 4 --price 0.4",
  bench: "tidegate model bench /models/yard.onnx openvino:ssd_mobilenet_v2_coco",
  use: "tidegate model use yard && tidegate up",
  back: "tidegate model use --default",
};

export function commands() {
  return h("section", { class: "stack models-commands", "aria-label": texts.title }, h("h2", {}, texts.title),
    h("p", { class: "muted" }, texts.help),
    h("dl", { class: "stack" }, Object.entries(COMMANDS).map(([name, command]) => one(/** @type {keyof typeof COMMANDS} */ (name), command))));
}

/** @param {keyof typeof COMMANDS} name @param {string} text */
function one(name, text) {
  const command = h("pre", { tabIndex: 0, "aria-label": texts[name] }, text);
  return h("div", {}, h("dt", {}, texts[name]), h("dd", { class: "models-copy" }, command,
    h("button", { type: "button", "aria-label": `${strings.copy}: ${texts[name]}`, onclick: () => void copy(command) }, strings.copy)));
}
