/** What the page Ask says. */

import { count } from "../parts/format.js";

export const strings = {
  title: "Ask",
  form: "Ask a model",
  kind: "What you want",
  kinds: { ask: "An answer", summarize: "A summary" },
  question: "Question",
  questionHint: "What is the man carrying?",
  about: "What it shall be about",
  aboutHint: "all that matters",
  camera: "Cameras",
  cameraHint: "add a camera",
  chosen: "Cameras that are asked about",
  span: {
    time: "Time",
    times: { 60: "last minute", 300: "last 5 minutes", 900: "last 15 minutes", 3600: "last hour", 21600: "last 6 hours", 86400: "last 24 hours" },
    between: "between …",
    from: "From",
    to: "To",
  },
  go: { ask: "Ask", summarize: "Summarise" },
  cost: "Each camera is a question of its own, and a GPU may be started for it.",
  noCamera: "Choose a camera.",
  noQuestion: "Write a question.",
  viewer: "Asking is for the role operator. You see what others have asked of your cameras.",
  current: "Asked now",
  cancel: "Stop waiting",
  cancelled: "You have stopped waiting. An answer that still comes is among the recent ones.",
  summaryOf: "Summary",
  waiting: (/** @type {string} */ waited, /** @type {number | null} */ jobs, /** @type {number} */ ready, /** @type {number} */ loading) => {
    const before = jobs === null ? "the server does not say what for" : `${count(jobs, "job")} in work or waiting, this one too`;
    const workers = [ready ? `${ready} ready` : "", loading ? `${loading} loading` : ""].filter(Boolean).join(", ");
    return `Waiting for ${waited}: ${before}; workers: ${workers || "none yet, the first is being started"}`;
  },
  stretch: (/** @type {string} */ from, /** @type {string} */ to) => `${from} to ${to}`,
  by: (/** @type {string} */ model) => `by ${model}`,
  captions: (/** @type {number} */ n) => `of ${count(n, "caption")}`,
  rests: "It rests on",
  frames: "What the model was shown",
  frame: (/** @type {string} */ camera, /** @type {string} */ time) => `${camera} at ${time}`,
  usedFrame: "the answer rests on it",
  expired: "no longer kept",
  parts: (/** @type {number} */ n) => `Its ${count(n, "part")}`,
  atCamera: "This camera",
  incidents: "Incidents then",
  find: "Find more",
  recent: "Answers of the last day",
  noRecent: "Nothing was asked of your cameras in the last day.",
  lost: "The connection was lost before all answers came. An answer that still comes is among the recent ones.",
};
