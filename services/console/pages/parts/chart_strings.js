/** The texts of charts. */

export const strings = {
  keys: (/** @type {string} */ title) =>
    `${title}: left and right move the cursor, with Shift they select a range. Enter, + and - zoom; 0 goes back`,
};
