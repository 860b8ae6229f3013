/** Pictures of cameras: few requests at a time, the longest waiting first, and no URL outlives its image. */

import { request } from "../api.js";

const AT_ONCE = 6;

/** @typedef {{id: string, image: HTMLImageElement, width: number, done: (shown: boolean) => void}} PictureRequest */

export class Pictures {
  /** @type {Map<string, PictureRequest>} */
  #waiting = new Map();
  /** @type {Map<HTMLImageElement, string>} */
  #urls = new Map();
  #running = 0;
  #leaving = new AbortController();

  /**
   * Load a camera's newest picture into an image, unless that request already waits.
   * @param {string} id
   * @param {HTMLImageElement} image
   * @param {number} width in pixels of the screen
   * @param {(shown: boolean) => void} done
   */
  want(id, image, width, done) {
    if (this.#waiting.has(id)) return;
    this.#waiting.set(id, { id, image, width, done });
    this.#next();
  }

  /** Forget one that waits: it is not seen any more. @param {string} id */
  drop(id) {
    const request = this.#waiting.get(id);
    this.#waiting.delete(id);
    request?.done(false);
  }

  /** An image is taken away. @param {HTMLImageElement} image */
  forget(image) {
    const url = this.#urls.get(image);
    if (url) URL.revokeObjectURL(url);
    this.#urls.delete(image);
  }

  end() {
    this.#leaving.abort();
    this.#waiting.clear();
    for (const image of [...this.#urls.keys()]) this.forget(image);
  }

  #next() {
    const [first] = this.#waiting.values();
    if (!first || this.#running >= AT_ONCE) return;
    this.#waiting.delete(first.id);
    this.#running += 1;
    void this.#load(first).finally(() => {
      this.#running -= 1;
      this.#next();
    });
    this.#next();
  }

  /** @param {PictureRequest} wanted */
  async #load({ id, image, width, done }) {
    try {
      const query = { width };
      const answer = await request("GET", `cameras/${id}/picture`, { query, signal: this.#leaving.signal });
      const blob = await answer.blob();
      // It was taken away meanwhile.
      if (this.#leaving.signal.aborted || !image.isConnected) return done(false);
      const url = URL.createObjectURL(blob);
      this.forget(image);
      this.#urls.set(image, url);
      image.src = url;
      done(true);
    } catch {
      // There is none yet, or the console is away, which the shell says.
      done(false);
    }
  }
}
