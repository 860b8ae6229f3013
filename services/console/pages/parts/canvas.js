/** Canvases in CSS pixels, redrawn when their size or the theme changes. */

/**
 * Clear a canvas, give it this size, and return its context.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
export function context2d(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/**
 * Call `draw` when an element's size or the theme changes, until the function that this returns is called.
 * @param {Element} element
 * @param {() => void} draw
 * @returns {() => void}
 */
export function redrawOnChange(element, draw) {
  const sizes = new ResizeObserver(draw);
  const themes = new MutationObserver(draw);
  sizes.observe(element);
  themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  return () => {
    sizes.disconnect();
    themes.disconnect();
  };
}
