/** Recordings: the video of each camera, to play from any moment and to export. */

import { ApiError, errorText } from "../api.js";
import { fill, h } from "../parts/dom.js";
import { errorNote } from "../parts/messages.js";
import { empty } from "./facts.js";
import { showList } from "./list.js";
import { showOne } from "./one.js";
import { ReanalysisRuns } from "./reanalysis.js";
import { strings } from "./strings.js";

const AGAIN_MS = 5000;

/** @type {import("../shell.js").Show} */
export async function show(main, route) {
  const camera = route.parts[0];
  /** @type {void | (() => void)} */
  let leave;
  let hasEnded = false;
  let timer = 0;
  // They go on also where no recorder does.
  const reanalyses = new ReanalysisRuns();
  const open = async () => {
    try {
      leave = await (camera ? showOne(main, camera, route.query) : showList(main, reanalyses.element));
      if (hasEnded) leave();
    } catch (error) {
      if (hasEnded) return;
      if (!(error instanceof ApiError && error.status === 503)) throw error;
      const texts = strings.none;
      fill(main, h("h1", {}, strings.title), empty(texts.recorder, texts.start, texts.command, `${texts.running} ${errorText(error)}`),
        camera ? null : reanalyses.element);
      timer = window.setTimeout(() => void open().catch((later) => fill(main, errorNote(errorText(later)))), AGAIN_MS);
    }
  };
  const end = () => {
    hasEnded = true;
    reanalyses.end();
    clearTimeout(timer);
    leave?.();
  };
  try {
    await open();
    if (!camera) await reanalyses.follow();
  } catch (error) {
    end();
    throw error;
  }
  return end;
}
