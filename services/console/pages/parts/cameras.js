/** All cameras that the signed-in person may see. */

import { get } from "../api.js";

const PER_REQUEST = 500;

/** @param {AbortSignal} [signal] @returns {Promise<any[]>} */
export async function allCameras(signal) {
  const all = [];
  let after = "";
  do {
    const part = await get("cameras", { after, limit: PER_REQUEST }, signal);
    all.push(...part.cameras);
    after = part.next;
  } while (after);
  return all;
}

/** @param {AbortSignal} [signal] @returns {Promise<string[]>} */
export async function cameraIds(signal) {
  return (await allCameras(signal)).map(({ id }) => id);
}
