/** What the API answers with: see services/console/review/answers.py. Times are RFC 3339. */

/** @typedef {[number, number, number, number]} Box x1, y1, x2, y2 as shares of width and height */
/** @typedef {"info" | "warning" | "critical"} Severity */

/**
 * @typedef {{
 *   id: string, incident: string, camera: string, rule: string, condition: string, severity: Severity,
 *   start: string, end: string | null, last: string, zone: string | null, line: string | null,
 *   direction: string | null, value: number | null, labels: Record<string, number>, verification: string,
 *   confidence: number | null, reason: string, alert: boolean, late: boolean, not_found: boolean,
 *   picture: string, video: boolean, reviewed: string | null,
 * }} Card
 */

/** @typedef {{incidents: Card[], next: string | null, complete: boolean}} Cards */
/** @typedef {{count: number, unreviewed: number, complete: boolean}} Tally */
/** @typedef {{id: string, label: string, score: number, box: Box}} Thing an object */
/** @typedef {{id: string, label: string, points: {time: string, box: Box}[]}} Path */
/**
 * @typedef {{
 *   since: string, until: string, fps: number, wanted: number, cause: string,
 *   outcome: "waiting" | "done" | "lost", lost: string | null,
 * }} Deferred
 */

/**
 * @typedef {{
 *   card: Card, objects: Thing[], segments: {seq: number}[], snapshot: {seq: number, time: string},
 *   verdict: {model: string, cause: string | null} | null, since: string, until: string,
 *   width: number | null, height: number | null, paths: Path[], deferred: Deferred[],
 * }} Details
 */

/** @typedef {{n: number, count: number, unreviewed: number, severity: Severity}} Bucket */
/** @typedef {{since: string, until: string | null, reason: string}} Gap */
/** @typedef {{camera: string, buckets: Bucket[], gaps: Gap[]}} Row */
/**
 * @typedef {{
 *   since: string, until: string, parts: number, rows: Row[], next: string | null, complete: boolean,
 * }} TimelineData
 */

/** @typedef {{since: number, until: number}} Span in milliseconds since 1970 */

export {};
