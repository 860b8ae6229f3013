/** The texts of the page Ask. */

import { count } from "../parts/format.js";

export const strings = {
  title: "Ask",
  form: "Ask a model",
  kind: "What you want",
  kinds: { ask: "An answer", summarize: "A summary" },
  question: "Question",
  questionHint: "What is the man carrying?",
  about: "What to summarise",
  aboutHint: "everything that matters",
  camera: "Cameras",
  cameraHint: "add a camera",
  chosen: "Chosen cameras",
  span: {
    time: "Time",
    times: { 60: "last minute", 300: "last 5 minutes", 900: "last 15 minutes", 3600: "last hour", 21600: "last 6 hours", 86400: "last 24 hours" },
    between: "between …",
    from: "From",
    to: "To",
  },
  go: { ask: "Ask", summarize: "Summarise" },
  cost: "Each camera is a separate question, and may start a GPU.",
  noCamera: "Choose a camera.",
  noQuestion: "Write a question.",
  viewer: "Asking needs the role operator. Below are answers about your cameras.",
  current: "Current questions",
  cancel: "Stop waiting",
  cancelled: "You stopped waiting. An answer that still arrives appears among the recent ones.",
  summaryOf: "Summary",
  waiting: (/** @type {string} */ waited, /** @type {number | null} */ jobs, /** @type {number} */ ready, /** @type {number} */ loading) => {
    const before = jobs === null ? "the server reports no queue length" : `${count(jobs, "job")} in progress or waiting, including this one`;
    const workers = [ready ? `${ready} ready` : "", loading ? `${loading} loading` : ""].filter(Boolean).join(", ");
    return `Waiting for ${waited}: ${before}; workers: ${workers || "none yet, the first is starting"}`;
  },
  stretch: (/** @type {string} */ from, /** @type {string} */ to) => `${from} to ${to}`,
  by: (/** @type {string} */ model) => `by ${model}`,
  captions: (/** @type {number} */ n) => `of ${count(n, "caption")}`,
  rests: "Evidence",
  frames: "Frames shown to the model",
  frame: (/** @type {string} */ camera, /** @type {string} */ time) => `${camera} at ${time}`,
  usedFrame: "used in the answer",
  expired: "expired",
  parts: (/** @type {number} */ n) => `Its ${count(n, "part")}`,
  atCamera: "This camera",
  incidents: "Incidents then",
  find: "Find more",
  recent: "Answers of the last day",
  noRecent: "No questions about your cameras in the last day.",
  lost: "The connection was lost before all answers arrived. Later ones appear among the recent answers.",
};
