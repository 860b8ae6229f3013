/** The replicas of cv: model, device and speed. */

import { h } from "../parts/dom.js";
import { number } from "../parts/format.js";
import { emptyNote } from "../parts/messages.js";
import { table } from "../parts/table.js";
import { strings } from "./strings.js";

/** @typedef {import("./types.js").Replica} Replica */

/** @param {Replica[] | null} replicas null: the person may not see them */
export function running(replicas) {
  if (!replicas) return emptyNote(strings.runningHidden);
  if (!replicas.length) return emptyNote(strings.runningNone);
  const columns = [
    { head: strings.replica }, { head: strings.model }, { head: strings.device }, { head: strings.state },
    { head: strings.perFrame, number: true }, { head: strings.rateNow, number: true }, { head: strings.rateBusy, number: true },
  ];
  return table(strings.running, columns, replicas.map((one) => [
    h("code", {}, one.replica), one.model || "–", one.device || strings.unknown, strings.states[one.state] ?? one.state,
    one.item_ms === null ? "–" : strings.ms(number(one.item_ms)), number(one.rate, 2),
    one.busy_rate === null ? "–" : number(one.busy_rate, 2),
  ]));
}
