/** Types of the replies of `GET /models`. */

/**
 * @typedef {{segments_s: number, segment_s: number, fps: number, load: number, cameras: number, latency_target_s: number,
 *   busy_cores: number, limited_by: string}} MeasuredRate
 * @typedef {{cpu: string, cores: number, was_busy: boolean, time: string, footage: string | null}} MeasuredOn
 * @typedef {{name: string, is_active: boolean, error: string, warning: string, is_checked: boolean, spec: string,
 *   detector: string, device: string, rate: MeasuredRate | null, measured: MeasuredOn | null, settings: string,
 *   scaled_object: string, has_picture: boolean}} Model
 * @typedef {{replica: string, state: string, model: string, device: string, rate: number, busy_rate: number | null,
 *   item_ms: number | null}} Replica
 * @typedef {{has_folder: boolean, active: string, models: Model[], more: number, running: Replica[] | null,
 *   price: number | null}} Reply
 */

export {};
