/** Zones, masks and lines in the value of rules: read, changed, named. Nothing is changed in place. Pure. */

/** @typedef {[number, number]} Point */
/** @typedef {"zones" | "masks" | "lines"} Kind */
/** @typedef {{kind: Kind, name: string | number}} Shape */
/** @typedef {Record<string, any>} Rules */

/** All shapes in the order of the file. @param {Rules} rules @returns {Shape[]} */
export function shapes(rules) {
  return [
    ...Object.keys(rules.zones ?? {}).map((name) => ({ kind: /** @type {Kind} */ ("zones"), name })),
    ...(rules.masks ?? []).map((/** @type {any} */ _, /** @type {number} */ n) => ({ kind: "masks", name: n })),
    ...Object.keys(rules.lines ?? {}).map((name) => ({ kind: /** @type {Kind} */ ("lines"), name })),
  ];
}

/** @param {Shape | null} a @param {Shape | null} b */
export function same(a, b) {
  return Boolean(a && b && a.kind === b.kind && a.name === b.name);
}

/** What rules have of a shape. @param {Rules} rules @param {Shape} shape @returns {any} */
export function part(rules, shape) {
  return rules[shape.kind]?.[shape.name];
}

/** @param {Rules} rules @param {Shape} shape @returns {Point[]} */
export function points(rules, shape) {
  const definition = part(rules, shape);
  if (!definition) return [];
  return shape.kind === "lines" ? [definition.from, definition.to] : definition.polygon;
}

/** @param {Rules} rules @param {Shape} shape @param {Point[]} corners @returns {Rules} */
export function withPoints(rules, shape, corners) {
  const copy = structuredClone(rules);
  const target = part(copy, shape);
  const round = corners.map(([x, y]) => /** @type {Point} */ ([roundShare(x), roundShare(y)]));
  if (shape.kind === "lines") [target.from, target.to] = round;
  else target.polygon = round;
  return copy;
}

/** A share of the frame, to a ten-thousandth. @param {number} share */
function roundShare(share) {
  return Math.round(Math.min(1, Math.max(0, share)) * 10_000) / 10_000;
}

/** A new shape, with a name that none has. @param {Rules} rules @param {Kind} kind @param {Point[]} corners @returns {[Rules, Shape]} */
export function addShape(rules, kind, corners) {
  const copy = structuredClone(rules);
  if (kind === "masks") {
    copy.masks = [...(copy.masks ?? []), { polygon: [] }];
    const shape = { kind, name: copy.masks.length - 1 };
    return [withPoints(copy, shape, corners), shape];
  }
  const name = freeName(kind === "zones" ? "zone" : "line", Object.keys(copy[kind] ?? {}));
  copy[kind] = { ...copy[kind], [name]: {} };
  const shape = { kind, name };
  return [withPoints(copy, shape, corners), shape];
}

/** `zone-1`, or the first number that is free. @param {string} word @param {string[]} names */
export function freeName(word, names) {
  let n = 1;
  while (names.includes(`${word}-${n}`)) n += 1;
  return `${word}-${n}`;
}

/** @param {Rules} rules @param {Shape} shape @returns {Rules} */
export function without(rules, shape) {
  const copy = structuredClone(rules);
  if (shape.kind === "masks") copy.masks.splice(shape.name, 1);
  else delete copy[shape.kind][shape.name];
  return copy;
}

/** Another name for a zone or line, in the rules that name it too. @param {Rules} rules @param {Shape} shape @param {string} name @returns {Rules} */
export function renameShape(rules, shape, name) {
  const copy = structuredClone(rules);
  const parts = Object.entries(copy[shape.kind]);
  copy[shape.kind] = Object.fromEntries(parts.map(([old, value]) => [old === shape.name ? name : old, value]));
  const field = shape.kind === "zones" ? "zone" : "line";
  for (const rule of copy.rules ?? []) if (rule[field] === shape.name) rule[field] = name;
  return copy;
}

/** The default corners of a shape. @param {Kind} kind @returns {Point[]} */
export function defaultCorners(kind) {
  return kind === "lines" ? [[0.5, 0.75], [0.5, 0.25]] : [[0.35, 0.35], [0.65, 0.35], [0.65, 0.7], [0.35, 0.7]];
}

/** The middle of some points. @param {Point[]} corners @returns {Point} */
export function middle(corners) {
  const sum = corners.reduce(([x, y], [px, py]) => [x + px, y + py], [0, 0]);
  return [sum[0] / corners.length, sum[1] / corners.length];
}

/** All corners, moved by as much as the frame lets them. @param {Point[]} corners @param {Point} by @returns {Point[]} */
export function moveCorners(corners, [dx, dy]) {
  const xs = corners.map(([x]) => x);
  const ys = corners.map(([, y]) => y);
  const x = Math.min(1 - Math.max(...xs), Math.max(-Math.min(...xs), dx));
  const y = Math.min(1 - Math.max(...ys), Math.max(-Math.min(...ys), dy));
  return corners.map(([px, py]) => [px + x, py + y]);
}

/** Put a value at a path of keys; undefined takes it away, and what is empty then. @param {any} root @param {(string | number)[]} path @param {any} value */
export function withValue(root, path, value) {
  const copy = structuredClone(root);
  const [last, ...before] = [...path].reverse();
  let at = copy;
  for (const key of before.reverse()) at = at[key] ??= {};
  if (last === undefined) return value;
  if (value === undefined && Array.isArray(at)) at.splice(Number(last), 1);
  else if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
}

/** `rules[2].zone` of its keys. @param {(string | number)[]} path */
export function pathText(path) {
  return path.map((key, n) => (typeof key === "number" ? `[${key}]` : n ? `.${key}` : key)).join("");
}
