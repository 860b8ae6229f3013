/** All cameras that are recorded: how much there is of each, by which policy, and when its oldest goes. */

import { get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { clock, duration, size } from "../parts/format.js";
import { poll } from "../parts/poll.js";
import { table } from "../parts/table.js";
import { to } from "../router.js";
import { empty, goes, missing, policy } from "./facts.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").OfCamera} OfCamera */

const EVERY_MS = 15_000;

/** @param {HTMLElement} main @param {HTMLElement} more what comes after it */
export async function showList(main, more) {
  const part = h("div", { class: "stack" });
  let shown = "";
  const end = await poll(async (signal) => {
    /** @type {{cameras: OfCamera[]}} */
    const { cameras } = await get("recordings", {}, signal);
    const now = JSON.stringify(cameras);
    // What has not changed keeps the keyboard's place.
    if (now !== shown) fill(part, cameras.length ? rows(cameras) : empty(strings.list.title, strings.none.nothing, strings.none.command));
    shown = now;
  }, EVERY_MS);
  fill(main, h("h1", {}, strings.title), part, more);
  return end;
}

/** @param {OfCamera[]} cameras */
function rows(cameras) {
  const texts = strings.facts;
  const columns = [
    { head: strings.list.camera }, { head: texts.video, number: true }, { head: texts.disk, number: true }, { head: texts.since }, { head: texts.until },
    { head: texts.policy }, { head: texts.goes }, { head: strings.list.missing },
  ];
  return table(strings.list.title, columns, [...cameras].sort((a, b) => a.camera.localeCompare(b.camera)).map((of) => [
    h("a", { href: to("recordings", [of.camera]) }, of.camera), duration(Math.round(of.seconds)), size(of.bytes),
    of.since ? clock(of.since) : "–", of.until ? clock(of.until) : "–", policy(of), goes(of), missing(of.lost).join("; "),
  ]));
}
