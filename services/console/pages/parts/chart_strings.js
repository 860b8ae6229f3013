/** The texts of charts. */

export const strings = {
  keys: (/** @type {string} */ title) =>
    `${title}: left and right move the cursor, with Shift they choose a range, Enter looks at it, + and - look closer and wider, 0 goes back`,
};
