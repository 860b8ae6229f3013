/** Types of the replies of `api/v1/site`. */

/** @typedef {{path: string, text: string, line: number | null}} Mistake */
/** @typedef {{kind: "add" | "change" | "remove", what: string, details: string}} Change */
/** @typedef {{text: string, notices: string[], interrupted: string}} SiteFile */
/**
 * @typedef {{mistakes: Mistake[], changes: Change[], added: number, changed: number, removed: number, notices: string[],
 *   more: number, sections: string[], token: string, interrupted: string}} Compared
 */
/**
 * @typedef {{state: "none" | "runs" | "done" | "failed", by: string, began: string, doing: string, error: string,
 *   added: number, changed: number, removed: number, notes: string[]}} Applied
 */

export {};
