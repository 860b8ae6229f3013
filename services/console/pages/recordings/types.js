/** What the API answers with: see services/console/recordings. Times are RFC 3339. */

/** @typedef {"camera" | "dropped" | "expired" | "damaged" | "policy" | "unmasked"} Cause */
/**
 * @typedef {{
 *   camera: string, seconds: number, bytes: number, lost: Record<string, number>, since: string | null,
 *   until: string | null, goes: string | null, record: "always" | "activity" | "incidents" | "never",
 *   rest: "nothing" | "keyframes", keep_days: number, held: boolean,
 * }} OfCamera
 */
/** @typedef {{hour: string, seconds: number, bytes: number, lost: Record<string, number>, incident: boolean}} Hour */
/** @typedef {{of: OfCamera, hours: Hour[]}} Hours */

/**
 * @typedef {{
 *   run: string, cameras: string[], since: string, until: string, model: string, fps: number | null, host: string,
 *   engine: "processes" | "ray" | "live", output: string, began: string, updated: string,
 *   state: "looking" | "following" | "captioning" | "done" | "stopped" | "failed", reason: string, pieces: number,
 *   pieces_done: number, frames: number, frames_done: number, captions: number, captions_done: number,
 *   frames_per_s: number, ends: string | null, tracks: number, incidents: number,
 * }} Run of shared/contract/work/runs.py
 */
/** @typedef {{of: Run, heard: boolean}} ReanalysisRun */
/** @typedef {{runs: ReanalysisRun[], unusable: {run: string, mistake: string}[]}} RunList */

/** @typedef {{since: number, until: number}} Span in milliseconds since 1970 */
/** @typedef {Span & {cause: Cause}} Gap */
/** @typedef {{start: number, rule: string, severity: "info" | "warning" | "critical"}} Mark an incident */

export {};
