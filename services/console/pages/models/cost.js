/** The cost of a camera at a price that the reader types, as `tidegate model add --price` computes it. */

/** @typedef {import("./types.js").MeasuredRate} MeasuredRate */

const KEY = "tidegate.models.price";

/** The remembered price, as it was typed. @param {number | null} configured by COST_PER_HOUR */
export function rememberedPrice(configured) {
  try {
    return localStorage.getItem(KEY) ?? String(configured ?? "");
  } catch {
    return String(configured ?? "");
  }
}

/** @param {string} price */
export function rememberPrice(price) {
  try {
    localStorage.setItem(KEY, price);
  } catch {
    // Without storage the price lasts until the page is left.
  }
}

/** The price as a number; null for no price. @param {string} text */
export function priceOf(text) {
  const price = Number(text.replace(",", "."));
  return text.trim() && Number.isFinite(price) && price >= 0 ? price : null;
}

/** Of a camera and day; null where it is unknown. @param {MeasuredRate | null} rate @param {number | null} price of a replica-hour */
export function cameraDay(rate, price) {
  const streams = rate ? streamsOf(rate) : 0;
  return price === null || !(streams > 0) ? null : (24 * price) / streams;
}

/** The cameras that a replica carries at its planned load, with a fraction. @param {MeasuredRate} rate */
export function streamsOf(rate) {
  return rate.segments_s * rate.segment_s * rate.load;
}
