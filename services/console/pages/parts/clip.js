/** The video around a moment, in a dialog. */

import { url } from "../api.js";
import { to } from "../router.js";
import { strings } from "../strings.js";
import { openDialog } from "./dialog.js";
import { fill, h } from "./dom.js";
import { clock, iso } from "./format.js";
import { emptyNote } from "./messages.js";

const BEFORE_MS = 5000;
const AFTER_MS = 10_000;
const AROUND_MS = 300_000;

/** @param {string} camera @param {string} time */
export function playClip(camera, time) {
  const at = Date.parse(time);
  const around = (/** @type {number} */ before, /** @type {number} */ after) => [at - before, at + after].map((ms) => iso(ms));
  const [from, until] = around(BEFORE_MS, AFTER_MS);
  const [since, end] = around(AROUND_MS, AROUND_MS);
  const title = strings.clip.at(camera, clock(time));
  const stage = h("div", { class: "clip" });
  const video = h("video", { controls: true, autoplay: true, muted: true, playsInline: true, "aria-label": title,
    src: url(`clips/${encodeURIComponent(camera)}`, { from, to: until }) });
  video.addEventListener("error", () => video.isConnected && fill(stage, emptyNote(strings.clip.expired)));
  fill(stage, video);
  const leave = () => dialog.close();
  const dialog = openDialog(title, stage, h("div", { class: "row" },
    h("button", { type: "button", onclick: leave }, strings.close),
    h("a", { href: to("review", [], { camera, since, until: end }), onclick: leave }, strings.clip.incidents),
    h("a", { href: to("cameras", [camera]), onclick: leave }, strings.clip.camera)));
  dialog.classList.add("wide");
  dialog.addEventListener("close", () => {
    // Stop the download.
    video.removeAttribute("src");
    video.load();
  });
}
