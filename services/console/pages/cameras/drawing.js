/** Zones, masks and lines over a picture, with corners that a mouse, a finger or the arrow keys move. */

import { fill, h, svg } from "../parts/dom.js";
import { drawing as texts } from "./rule-strings.js";
import { defaultCorners, middle, moveCorners, points, same, shapes } from "./shapes.js";

/** @typedef {import("./shapes.js").Point} Point */
/** @typedef {import("./shapes.js").Shape} Shape */
/** @typedef {import("./shapes.js").Kind} Kind */
/** @typedef {{kind: Kind, corners: Point[]}} Draft */
/** @typedef {{shape: Shape, n: number, from: Point, corners: Point[]}} Drag */
/**
 * move: corners while they move, and once they are let go. add: a shape is drawn. select: one is chosen.
 * @typedef {{move: (shape: Shape, corners: Point[], done: boolean) => void, add: (kind: Kind, corners: Point[]) => void, select: (shape: Shape | null) => void}} Handlers
 */

// The height of the drawing in its own units.
const HIGH = 1000;
const HANDLE_PX = 9;
const STEP = 0.005;
const LARGE_STEP = 0.05;
/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Drawing {
  #aspect = 16 / 9;
  /** @type {any} */
  #rules = {};
  /** @type {Shape | null} */
  #selected = null;
  /** What is being drawn. @type {Draft | null} */
  #draft = null;
  /** What is being dragged: a corner's number, or -1 for the whole. @type {Drag | null} */
  #drag = null;

  /** @param {Handlers} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.image = h("img", { alt: "", hidden: true });
    this.svg = /** @type {SVGSVGElement} */ (svg("svg", { class: "drawing", role: "group", "aria-label": texts.label }));
    this.element = h("div", { class: "canvas" }, this.image, this.svg);
    this.svg.addEventListener("pointerdown", (event) => this.#down(event));
    this.svg.addEventListener("pointermove", (event) => this.#moves(event));
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"])) this.svg.addEventListener(name, () => this.#up());
    this.svg.addEventListener("dblclick", () => this.#finish());
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.image.addEventListener("load", () => this.#loaded());
    this.image.addEventListener("error", () => (this.image.hidden = true));
    this.resized = new ResizeObserver(() => this.#render());
    this.resized.observe(this.element);
  }

  end() {
    this.resized.disconnect();
  }

  /** @param {any} rules @param {Shape | null} selected */
  show(rules, selected) {
    this.#rules = rules;
    this.#selected = selected;
    this.#render();
  }

  /** Begin to draw: each tap is a corner. @param {Kind} kind */
  begin(kind) {
    this.#draft = { kind, corners: [] };
    this.svg.setAttribute("tabindex", "0");
    this.svg.focus();
    this.#render();
  }

  #loaded() {
    this.#aspect = this.image.naturalWidth / this.image.naturalHeight || 16 / 9;
    this.image.hidden = false;
    this.#render();
  }

  // ---- what happens

  /** Where in the frame. @param {PointerEvent} event @returns {Point} */
  #at(event) {
    const box = this.svg.getBoundingClientRect();
    const within = (/** @type {number} */ share) => Math.min(1, Math.max(0, share));
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button) return;
    const target = /** @type {SVGElement} */ (event.target);
    if (this.#draft) return this.#corner(this.#at(event), target);
    const key = target.closest("[data-shape]")?.getAttribute("data-shape");
    const shape = shapes(this.#rules).find((one) => id(one) === key) ?? null;
    if (!shape) return this.handlers.select(null);
    if (!same(shape, this.#selected)) return this.handlers.select(shape);
    const corners = points(this.#rules, shape);
    let n = Number(target.getAttribute("data-corner") ?? -1);
    // Between two corners a new one begins.
    const between = target.getAttribute("data-between");
    if (between !== null) {
      n = Number(between) + 1;
      corners.splice(n, 0, this.#at(event));
    }
    this.#drag = { shape, n, from: this.#at(event), corners: corners.map((c) => [...c]) };
    this.svg.setPointerCapture(event.pointerId);
    target.focus?.();
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #moves(event) {
    if (!this.#drag) return;
    this.handlers.move(this.#drag.shape, this.#dragged(this.#at(event)), false);
  }

  #up() {
    const drag = this.#drag;
    this.#drag = null;
    if (drag) this.handlers.move(drag.shape, points(this.#rules, drag.shape), true);
  }

  /** @param {Point} at @returns {Point[]} */
  #dragged(at) {
    const { n, from, corners } = /** @type {Drag} */ (this.#drag);
    if (n < 0) return moveCorners(corners, [at[0] - from[0], at[1] - from[1]]);
    return corners.map((corner, k) => (k === n ? at : corner));
  }

  /** @param {Point} at @param {SVGElement} target */
  #corner(at, target) {
    const draft = /** @type {Draft} */ (this.#draft);
    if (target.hasAttribute("data-close")) return this.#finish();
    draft.corners.push(at);
    if (draft.kind === "lines" && draft.corners.length === 2) return this.#finish();
    this.#render();
  }

  /** What is drawn is a shape; too few corners make a usual one, which may be moved then. */
  #finish() {
    const draft = this.#draft;
    if (!draft) return;
    this.#draft = null;
    // A double tap leaves its corner twice.
    const corners = draft.corners.filter((c, n) => !n || Math.hypot(c[0] - (draft.corners[n - 1]?.[0] ?? 0), c[1] - (draft.corners[n - 1]?.[1] ?? 0)) > 0.003);
    this.handlers.add(draft.kind, corners.length >= (draft.kind === "lines" ? 2 : 3) ? corners : defaultCorners(draft.kind));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (this.#draft) {
      if (event.key === "Enter") this.#finish();
      else if (event.key === "Escape") {
        this.#draft = null;
        this.#render();
      } else return;
      return event.preventDefault();
    }
    const handle = /** @type {Element} */ (event.target).getAttribute?.("data-corner");
    const shape = this.#selected;
    if (handle === null || handle === undefined || !shape) return;
    const changed = this.#keyed(event, shape, Number(handle));
    if (!changed) return;
    event.preventDefault();
    this.handlers.move(shape, changed, true);
  }

  /** @param {KeyboardEvent} event @param {Shape} shape @param {number} n @returns {Point[] | null} */
  #keyed(event, shape, n) {
    const corners = points(this.#rules, shape).map((c) => /** @type {Point} */ ([...c]));
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = event.shiftKey ? LARGE_STEP : STEP;
      const by = /** @type {Point} */ ([arrow[0] * step, arrow[1] * step]);
      return n < 0 ? moveCorners(corners, by) : corners.map((c, k) => (k === n ? /** @type {Point} */ ([c[0] + by[0], c[1] + by[1]]) : c));
    }
    if (n < 0 || shape.kind === "lines") return null;
    if (event.key === "Delete" || event.key === "Backspace") return corners.length > 3 ? corners.filter((_, k) => k !== n) : null;
    if (event.key === "+") corners.splice(n + 1, 0, middle([/** @type {Point} */ (corners[n]), /** @type {Point} */ (corners[(n + 1) % corners.length])]));
    return event.key === "+" ? corners : null;
  }

  // ---- what is seen

  /** @param {Point} point @returns {[number, number]} */
  #xy([x, y]) {
    return [Math.round(x * HIGH * this.#aspect * 10) / 10, Math.round(y * HIGH * 10) / 10];
  }

  #render() {
    const focused = this.svg.contains(document.activeElement) ? document.activeElement?.getAttribute("data-key") : null;
    this.svg.setAttribute("viewBox", `0 0 ${HIGH * this.#aspect} ${HIGH}`);
    const all = shapes(this.#rules).filter((shape) => points(this.#rules, shape).length);
    const chosen = all.find((shape) => same(shape, this.#selected));
    fill(this.svg,
      ...all.filter((shape) => shape !== chosen).map((shape) => this.#shape(shape, false)),
      chosen ? this.#shape(chosen, true) : null,
      ...(this.#draft ? this.#drafted() : []));
    if (focused) /** @type {HTMLElement | null} */ (this.svg.querySelector(`[data-key="${CSS.escape(focused)}"]`))?.focus();
  }

  get #unit() {
    return HIGH / (this.svg.clientHeight || 500);
  }

  /** @param {Shape} shape @param {boolean} chosen */
  #shape(shape, chosen) {
    const corners = points(this.#rules, shape);
    const at = corners.map((c) => this.#xy(c));
    const list = at.map((p) => p.join(",")).join(" ");
    const body = shape.kind === "lines" ? svg("polyline", { points: list, class: "edge" }) : svg("polygon", { points: list, class: "area" });
    const [x, y] = at[0] ?? [0, 0];
    const size = 14 * this.#unit;
    const text = svg("text", { x, y: Math.max(size, y - size / 2), "font-size": size, "aria-hidden": "true" }, name(shape));
    return svg("g", { class: `${shape.kind}${chosen ? " chosen" : ""}`, "data-shape": id(shape) },
      body, shape.kind === "lines" ? this.#direction(at) : null, text, ...(chosen && !this.#draft ? this.#handles(shape, corners) : []));
  }

  /** The arrow for `in`: to the right, looking along the line. @param {[number, number][]} at */
  #direction(at) {
    const [[x1, y1], [x2, y2]] = /** @type {[[number, number], [number, number]]} */ (at);
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    const [nx, ny] = [-(y2 - y1) / length, (x2 - x1) / length];
    const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
    const far = 26 * this.#unit;
    const [tx, ty] = [mx + nx * far, my + ny * far];
    const wing = far / 3;
    const head = [[tx - nx * wing + ny * wing, ty - ny * wing - nx * wing], [tx, ty], [tx - nx * wing - ny * wing, ty - ny * wing + nx * wing]];
    return svg("g", { class: "direction", "aria-hidden": "true" },
      svg("line", { x1: mx, y1: my, x2: tx, y2: ty }), svg("polyline", { points: head.map((p) => p.join(",")).join(" ") }),
      svg("text", { x: tx + nx * wing, y: ty + ny * wing, "font-size": 12 * this.#unit }, texts.into));
  }

  /** @param {Shape} shape @param {Point[]} corners */
  #handles(shape, corners) {
    const r = HANDLE_PX * this.#unit;
    const what = texts.kinds[shape.kind];
    const round = corners.map((corner, n) => {
      const [cx, cy] = this.#xy(corner);
      return svg("circle", { cx, cy, r, class: "handle", tabindex: "0", role: "button", "data-corner": n, "data-key": `c${n}`,
        "aria-label": texts.corner(what ?? "", name(shape), n + 1, corner) });
    });
    const between = shape.kind === "lines" ? [] : corners.map((corner, n) => {
      const [cx, cy] = this.#xy(middle([corner, /** @type {Point} */ (corners[(n + 1) % corners.length])]));
      return svg("circle", { cx, cy, r: r * 0.6, class: "between", "data-between": n });
    });
    const [mx, my] = this.#xy(middle(corners));
    const whole = svg("rect", { x: mx - r * 0.8, y: my - r * 0.8, width: r * 1.6, height: r * 1.6, class: "handle whole", tabindex: "0", role: "button",
      "data-corner": -1, "data-key": "whole", "aria-label": texts.whole(what ?? "", name(shape)) });
    return [...between, whole, ...round];
  }

  #drafted() {
    const { kind, corners } = /** @type {Draft} */ (this.#draft);
    const at = corners.map((c) => this.#xy(c));
    const r = HANDLE_PX * this.#unit;
    return [
      svg("rect", { x: 0, y: 0, width: HIGH * this.#aspect, height: HIGH, class: "sheet" }),
      svg("polyline", { class: `draft ${kind}`, points: at.map((p) => p.join(",")).join(" ") }),
      ...at.map(([cx, cy], n) => svg("circle", { cx, cy, r, class: "handle", "data-close": n === 0 && corners.length > 2 ? "" : null })),
    ];
  }
}

/** @param {Shape} shape */
function id(shape) {
  return `${shape.kind}.${shape.name}`;
}

/** @param {Shape} shape */
function name(shape) {
  return shape.kind === "masks" ? texts.mask(Number(shape.name) + 1) : String(shape.name);
}
