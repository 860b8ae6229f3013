/** The size of each stream, and the position of each consumer. */

import { get } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { figures } from "../parts/facts.js";
import { ago, clock, duration, number, percent, size } from "../parts/format.js";
import { poll } from "../parts/poll.js";
import { table } from "../parts/table.js";
import { strings } from "./strings.js";

const EVERY_MS = 3000;

/**
 * @typedef {{name: string, pending: number, in_flight: number, ack_floor: number, redelivered: number,
 *   waiting_pulls: number, last_delivery: string | null}} Consumer
 * @typedef {{name: string, subjects: string[], messages: number, bytes: number, max_bytes: number | null,
 *   max_messages: number | null, max_age_s: number | null, share_full: number | null, refuses: boolean,
 *   oldest: string | null, newest: string | null, copies: number, consumers: Consumer[], other_consumers: number,
 *   error: string | null}} Stream
 */

/** @type {import("./page.js").Tab} */
export async function tab(part) {
  const total = h("p", { class: "muted" });
  const list = h("div", { class: "streams" });
  fill(part, total, list);
  return poll(async (signal) => {
    /** @type {{streams: Stream[], bytes: number, max_bytes: number}} */
    const reply = await get("streams", {}, signal);
    fill(total, strings.total(size(reply.bytes), size(reply.max_bytes)));
    fill(list, reply.streams.map(card));
  }, EVERY_MS);
}

/** @param {Stream} stream */
function card(stream) {
  if (stream.error) return h("section", { class: "card" }, h("h2", {}, stream.name), h("p", { class: "bad" }, stream.error));
  return h("section", { class: "card", "aria-label": stream.name },
    h("div", { class: "head" }, h("h2", {}, stream.name), h("code", { class: "muted" }, stream.subjects.join(", "))),
    figures([
      [strings.messages, withLimit(number(stream.messages), stream.max_messages && number(stream.max_messages))],
      [strings.size, withLimit(size(stream.bytes), stream.max_bytes && size(stream.max_bytes))],
      [strings.oldest, time(stream.oldest)], [strings.newest, time(stream.newest)],
      stream.share_full === null ? null : [strings.full, [
        h("progress", { value: stream.share_full, max: 1, "aria-label": strings.fullOf(stream.name) }), " ", percent(stream.share_full)]]]),
    h("p", { class: "small muted" }, [
      stream.max_age_s ? strings.maxAge(duration(stream.max_age_s)) : "",
      stream.refuses ? strings.whenFull.refuses : strings.whenFull.forgets,
      stream.copies > 1 ? strings.copies(stream.copies) : "",
      stream.other_consumers ? strings.others(stream.other_consumers) : "",
    ].filter(Boolean).join(" ")),
    stream.consumers.length ? consumers(stream) : null);
}

/** @param {Stream} stream */
function consumers(stream) {
  const columns = [
    { head: strings.consumer }, { head: strings.pending, number: true }, { head: strings.inFlight, number: true },
    { head: strings.redelivered, number: true }, { head: strings.pulls, number: true },
    { head: strings.floor, number: true }, { head: strings.lastDelivery },
  ];
  return table(strings.consumersOf(stream.name), columns, stream.consumers.map((one) => [
    one.name, number(one.pending), number(one.in_flight), number(one.redelivered), number(one.waiting_pulls),
    String(one.ack_floor), one.last_delivery ? ago(one.last_delivery) : strings.never,
  ]));
}

/** @param {string} value @param {string | number | null} limit */
function withLimit(value, limit) {
  return limit ? `${value} / ${limit}` : value;
}

/** @param {string | null} text */
function time(text) {
  return text ? clock(text) : "–";
}
