/** Live video as it comes: one connection for all players of a page, made again where it breaks. */

import { socketUrl } from "../api.js";

/**
 * What stands before an MP4: see docs/console.md.
 * @typedef {{camera: string, kind: "init" | "media", codec: string, seq: number, start: string, duration: number, time: number, dropped: number}} Head
 */
/**
 * A watcher of a camera. take: an MP4. status: it can't be watched, or only as pictures. lost: what follows is not
 * continued.
 * @typedef {{take: (head: Head, data: Uint8Array) => void, status: (what: {pictures?: string, error?: string}) => void, lost: () => void}} Watcher
 */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 3_000;

/** @type {Map<string, Set<Watcher>>} */
const watchers = new Map();
/** What must be known before a camera's video: the console says it once. @type {Map<string, [Head, Uint8Array]>} */
const inits = new Map();
/** @type {WebSocket | null} */
let socket = null;
let wait = FIRST_WAIT_MS;
let timer = 0;
let isSyncing = false;

/**
 * Watch a camera, until the function that this returns is called.
 * @param {string} camera
 * @param {Watcher} watcher
 * @returns {() => void}
 */
export function watch(camera, watcher) {
  const all = watchers.get(camera) ?? new Set();
  all.add(watcher);
  watchers.set(camera, all);
  const init = inits.get(camera);
  if (init) watcher.take(...init);
  sync();
  return () => {
    all.delete(watcher);
    if (!all.size && watchers.get(camera) === all) {
      watchers.delete(camera);
      inits.delete(camera);
    }
    sync();
  };
}

/** Send the watched cameras, once for all changes of this moment. */
function sync() {
  if (isSyncing) return;
  isSyncing = true;
  queueMicrotask(() => {
    isSyncing = false;
    if (!watchers.size) close();
    else if (!socket && !timer) open();
    else if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ watch: [...watchers.keys()] }));
  });
}

function open() {
  const opening = new WebSocket(socketUrl("live"));
  socket = opening;
  opening.binaryType = "arraybuffer";
  opening.addEventListener("open", () => {
    wait = FIRST_WAIT_MS;
    sync();
  });
  opening.addEventListener("message", ({ data }) => (typeof data === "string" ? takeStatus(data) : take(data)));
  opening.addEventListener("close", () => {
    if (socket === opening) reconnect();
  });
}

/** Connect again; all players restart. */
function reconnect() {
  close();
  for (const all of watchers.values()) for (const watcher of all) watcher.lost();
  timer = window.setTimeout(() => {
    timer = 0;
    if (watchers.size) open();
  }, wait);
  wait = Math.min(2 * wait, LONGEST_WAIT_MS);
}

function close() {
  window.clearTimeout(timer);
  timer = 0;
  inits.clear();
  const closing = socket;
  socket = null;
  closing?.close();
}

/** @param {string} text */
function takeStatus(text) {
  const { camera, ...what } = JSON.parse(text);
  for (const watcher of watchers.get(camera) ?? []) watcher.status(what);
}

/** @param {ArrayBuffer} message */
function take(message) {
  const size = new DataView(message).getUint32(0);
  /** @type {Head} */
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(message, 4, size)));
  const data = new Uint8Array(message, 4 + size);
  if (head.kind === "init") inits.set(head.camera, [head, data]);
  for (const watcher of watchers.get(head.camera) ?? []) watcher.take(head, data);
}
