/** The ids of all cameras that whoever is signed in may see. */

import { get } from "../api.js";

const PART = 500;
const MOST = 20;

/** @returns {Promise<string[]>} */
export async function cameraIds() {
  /** @type {string[]} */
  const found = [];
  let after = "";
  for (let n = 0; n < MOST; n++) {
    const part = await get("cameras", { after, limit: PART });
    found.push(...part.cameras.map((/** @type {any} */ camera) => camera.id));
    if (!part.next) break;
    after = part.next;
  }
  return found;
}
