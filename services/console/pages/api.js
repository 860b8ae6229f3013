/** The console's own API, as any other program uses it. Paths are below `api/v1/`. */

import { strings } from "./strings.js";

const BASE = new URL("api/v1/", document.baseURI);
const RECONNECT_MS = 3000;

/** An answer that is an error. */
export class ApiError extends Error {
  /** @param {number} status @param {string} text */
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** What to show of an error. @param {unknown} error */
export function errorText(error) {
  if (error instanceof ApiError) return error.message;
  if (error instanceof DOMException && error.name === "AbortError") return "";
  if (error instanceof TypeError) return strings.away;
  return String(error);
}

/** Whether it may be otherwise in a moment: the console, or what it asks, is away. @param {unknown} error */
export function isTransient(error) {
  return error instanceof ApiError ? [502, 503, 504].includes(error.status) : error instanceof TypeError;
}

let csrf = "";
/** @type {() => void} */
let onSignedOut = () => {};

/** @param {string} token of the session */
export function remember(token) {
  csrf = token;
}

/** @param {() => void} then called when the session has ended */
export function whenSignedOut(then) {
  onSignedOut = then;
}

/** The address of something, for `src` and `href`. @param {string} path @param {Record<string, any>} [query] */
export function url(path, query = {}) {
  const address = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") address.searchParams.set(name, String(value));
  }
  return address.href;
}

/** Of a WebSocket. @param {string} path */
export function socketUrl(path) {
  return url(path).replace(/^http/, "ws");
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{query?: Record<string, any>, body?: any, signal?: AbortSignal, range?: string}} [options]
 * @returns {Promise<Response>}
 */
export async function request(method, path, { query, body, signal, range } = {}) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (range) headers["Range"] = range;
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(url(path, query), {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    credentials: "same-origin",
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401 && !path.startsWith("session")) onSignedOut();
  throw new ApiError(response.status, problem.error || `${response.status} ${response.statusText}`);
}

/** @param {string} path @param {Record<string, any>} [query] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, query, signal) {
  return (await request("GET", path, { query, signal })).json();
}

/** @param {string} path @param {any} [body] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function post(path, body, signal) {
  return read(await request("POST", path, { body, signal }));
}

/** @param {string} path @param {any} [body] @returns {Promise<any>} */
export async function put(path, body) {
  return read(await request("PUT", path, { body }));
}

/** @param {string} path @param {any} body @returns {Promise<any>} */
export async function patch(path, body) {
  return read(await request("PATCH", path, { body }));
}

/** @param {string} path @returns {Promise<void>} */
export async function remove(path) {
  await request("DELETE", path);
}

/** @param {Response} response */
async function read(response) {
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * Events as they come, until the function that this returns is called. A browser connects again by itself, but not once
 * a proxy has answered in the console's place, that it is away.
 * @param {{kinds?: string[], cameras?: string[]}} wanted
 * @param {(kind: string, event: any, id: string) => void} take
 * @returns {() => void}
 */
export function subscribe({ kinds = [], cameras = [] }, take) {
  /** @type {EventSource} */
  let source;
  let timer = 0;
  const open = () => {
    source = new EventSource(url("events", { kinds: kinds.join(","), cameras: cameras.join(",") }));
    for (const kind of [...kinds, "missed"]) {
      source.addEventListener(kind, (event) => take(kind, JSON.parse(event.data), event.lastEventId));
    }
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) timer = window.setTimeout(open, RECONNECT_MS);
    });
  };
  open();
  return () => {
    window.clearTimeout(timer);
    source.close();
  };
}
