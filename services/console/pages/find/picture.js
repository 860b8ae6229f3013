/** A picture to search by: made small here, and without whatever else its file says. */

// A model sees a few hundred pixels: more adds nothing.
const MOST_PIXELS = 1280;
const QUALITY = 0.9;

/**
 * Raises what the browser raises for a file that is no picture.
 * @param {Blob} file
 * @returns {Promise<string>} a JPEG as a data URL
 */
export async function readPicture(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, MOST_PIXELS / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas.toDataURL("image/jpeg", QUALITY);
}

/** What the API takes of a data URL. @param {string} address */
export function base64(address) {
  return address.slice(address.indexOf(",") + 1);
}

/** The first picture among what was dropped or pasted. @param {DataTransfer | null} data @returns {File | null} */
export function pictureOf(data) {
  return [...(data?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? data?.files[0] ?? null;
}
