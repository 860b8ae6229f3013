/** The versions of the console, its NATS server and the services. */

import { get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { fact } from "../parts/facts.js";
import { duration } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { poll } from "../parts/poll.js";
import { table } from "../parts/table.js";
import { strings } from "./strings.js";

const EVERY_MS = 10_000;

/** @type {import("./page.js").Tab} */
export async function tab(part) {
  const facts = h("dl", { class: "figures" });
  const list = h("div", {});
  fill(part, facts, h("h2", {}, strings.running), list);
  return poll(async (signal) => {
    const reply = await get("versions", {}, signal);
    const server = reply.server ? `${reply.server} (${reply.server_name ?? "–"})` : strings.notConnected;
    fill(facts, fact(strings.console, reply.console), fact(strings.python, reply.python), fact(strings.server, server));
    const columns = [
      { head: strings.service }, { head: strings.replica }, { head: strings.version }, { head: strings.model },
      { head: strings.state }, { head: strings.uptime },
    ];
    const rows = reply.services.map((/** @type {any} */ one) => [
      one.service, h("code", {}, one.replica), one.version ?? strings.unknown, one.model ?? "–", one.state ?? "–", duration(one.uptime_s),
    ]);
    fill(list, rows.length ? table(strings.running, columns, rows) : emptyNote(strings.noneRunning));
  }, EVERY_MS);
}
