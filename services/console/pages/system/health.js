/** The checks of the system, and remedies for those that fail. */

import { get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { poll } from "../parts/poll.js";
import { to } from "../router.js";
import { strings } from "./strings.js";

const EVERY_MS = 5000;
/** @type {Record<string, string>} */
const COLOURS = { ok: "good", warn: "warn", bad: "bad" };

/** @typedef {{what: string, level: "ok" | "warn" | "bad", found: string, remedy: string | null, camera: string | null}} Finding */

/** @type {import("./page.js").Tab} */
export async function tab(part) {
  const sum = h("p", { role: "status" });
  const trouble = h("ul", { class: "findings" });
  const well = h("ul", { class: "findings" });
  const summary = h("summary", {});
  fill(part, sum, trouble, h("details", {}, summary, well));
  let shown = "";
  return poll(async (signal) => {
    /** @type {{findings: Finding[]}} */
    const { findings } = await get("doctor", {}, signal);
    const json = JSON.stringify(findings);
    if (json === shown) return;
    shown = json;
    const bad = findings.filter((finding) => finding.level !== "ok");
    const good = findings.filter((finding) => finding.level === "ok");
    fill(sum, bad.length ? strings.notWell(bad.length) : strings.allWell);
    fill(trouble, bad.map(line));
    fill(summary, strings.showWell(good.length));
    fill(well, good.map(line));
  }, EVERY_MS);
}

/** @param {Finding} finding */
function line(finding) {
  const what = finding.camera ? h("a", { href: to("cameras", [finding.camera]) }, finding.what) : finding.what;
  return h("li", { class: "finding card" },
    h("div", { class: "row" }, h("span", { class: `dot ${COLOURS[finding.level]}` }), h("strong", {}, what),
      h("span", { class: `small ${COLOURS[finding.level]}` }, strings.levels[finding.level])),
    h("p", {}, finding.found),
    finding.remedy ? h("p", { class: "small" }, h("span", { class: "muted" }, strings.remedy), " ", finding.remedy) : null);
}
