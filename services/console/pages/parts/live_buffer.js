/** Video into a browser's decoder: what comes is put behind what is there, and what is old is taken out. */

/** @typedef {import("./live.js").Head} Head */

/** Seconds that stay behind what is shown, and media that wait while the browser is busy. */
const HISTORY_S = 20;
const MOST_WAITING = 12;

/** Safari on telephones has one of its own. */
export const Source = /** @type {typeof MediaSource | undefined} */ (
  /** @type {any} */ (globalThis).ManagedMediaSource ?? globalThis.MediaSource
);

/** @param {string} codec */
export function mime(codec) {
  return `video/mp4; codecs="${codec}"`;
}

/** @param {string} codec @returns {boolean} whether this browser plays it */
export function plays(codec) {
  return Source?.isTypeSupported(mime(codec)) ?? false;
}

export class LiveBuffer {
  /** @type {SourceBuffer | null} */
  #buffer = null;
  /** @type {{head: Head, data: Uint8Array}[]} */
  #waiting = [];
  #codec = "";
  #ended = false;

  /**
   * @param {HTMLVideoElement} video
   * @param {() => void} appended is called whenever there is more to show
   * @param {() => void} failed once nothing can be appended any more
   */
  constructor(video, appended, failed) {
    if (!Source) throw new Error("no MediaSource");
    this.video = video;
    this.appended = appended;
    this.failed = failed;
    this.source = new Source();
    const url = URL.createObjectURL(this.source);
    this.source.addEventListener("sourceopen", () => {
      URL.revokeObjectURL(url);
      this.#next();
    });
    video.disableRemotePlayback = true;
    video.src = url;
  }

  /** @param {Head} head @param {Uint8Array} data */
  take(head, data) {
    this.#waiting.push({ head, data });
    if (this.#waiting.length > MOST_WAITING) {
      // What follows is taken from the next keyframe on.
      const oldest = this.#waiting.findIndex((one) => one.head.kind === "media");
      this.#waiting.splice(oldest, 1);
    }
    this.#next();
  }

  end() {
    this.#ended = true;
    this.#waiting = [];
  }

  #next() {
    if (this.#ended || this.source.readyState !== "open" || this.#buffer?.updating) return;
    if (this.#isTrimming(HISTORY_S)) return;
    const one = this.#waiting.shift();
    if (!one) return;
    try {
      this.#open(one.head.codec).appendBuffer(/** @type {BufferSource} */ (one.data));
    } catch (error) {
      // Full: continue after old video is removed.
      const isFull = error instanceof DOMException && error.name === "QuotaExceededError";
      if (isFull) this.#waiting.unshift(one);
      if (!isFull || !this.#isTrimming(2)) this.#fail();
    }
  }

  /** @param {string} codec */
  #open(codec) {
    if (!this.#buffer) {
      this.#buffer = this.source.addSourceBuffer(mime(codec));
      this.#buffer.mode = "segments";
      this.#buffer.addEventListener("updateend", () => {
        if (this.#ended) return;
        this.appended();
        this.#next();
      });
      this.#buffer.addEventListener("error", () => this.#fail());
    } else if (this.#codec !== codec) this.#buffer.changeType(mime(codec));
    this.#codec = codec;
    return this.#buffer;
  }

  /** Remove old video. @param {number} historyS @returns {boolean} whether the removal is in progress */
  #isTrimming(historyS) {
    const buffer = this.#buffer;
    const until = this.video.currentTime - historyS;
    if (!buffer?.buffered.length || buffer.buffered.start(0) >= until - 1) return false;
    buffer.remove(0, until);
    return true;
  }

  #fail() {
    if (this.#ended) return;
    this.end();
    this.failed();
  }
}
