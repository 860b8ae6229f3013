/** The texts of the player. */

export const strings = {
  live: (/** @type {string} */ camera) => `Live video of ${camera}`,
  picture: (/** @type {string} */ camera) => `Newest picture of ${camera}`,
  waiting: "Waiting for video …",
  onlyPictures: "Pictures only: this camera sends no keyframes",
  unplayable: (/** @type {string} */ codec) => `Pictures only: this browser does not play ${codec}`,
  broken: "Pictures only: this browser can't play this video",
};
