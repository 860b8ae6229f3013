"""A dashboard for each service and one for NATS: input, output, lag and failures."""

from __future__ import annotations

from tools.dashboards.page import Graph, Page, Row, gauge, graph, quantile, rate

_OURS = 'namespace="$namespace"'
# Each server reports the consumers of which it has a replica; the leader's values are correct.
_LED = f'{_OURS}, is_consumer_leader="true"'
_ROOM = "kubelet_volume_stats_available_bytes"


def _pods(component: str) -> Row:
    """Return the graphs of a component's pods. Pods of its parts, such as embed-queries, are included."""
    of = f'component=~"{component}(-.+)?"'
    pods = f'{_OURS}, pod=~"tidegate-{component}-.+"'
    restarts = f'tidegate_worker_restarts_total{{{_OURS}, service=~"{component}(-.+)?"}}'
    return Row(
        "Pods",
        (
            graph(
                "Ready",
                (gauge("tidegate_ready", "sum", "component", of), "{{component}}, ready"),
                (f"count by (component) (up{{{_OURS}, {of}}})", "{{component}}, scraped"),
                says="As /readyz says. What is missing is said there.",
            ),
            graph(
                "Restarts of the last hour",
                (f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{pods}}}[1h]))", "{{pod}}"),
                (
                    f"sum by (pod) (increase(kube_pod_init_container_status_restarts_total{{{pods}}}[1h]))",
                    "{{pod}}, vLLM",
                ),
                (
                    f"sum by (service) (increase({restarts}[1h]))",
                    "{{service}}, by tidegate up",
                ),
            ),
        ),
    )


def _quantiles(title: str, histogram: str, where: str = "", by: str = "") -> Graph:
    named = "".join(f", {{{{{label}}}}}" for label in by.split(", ") if label)
    return graph(
        title,
        (quantile(0.5, histogram, by, where), "half" + named),
        (quantile(0.99, histogram, by, where), "99 %" + named),
        unit="s",
    )


def _usage(where: str) -> Graph:
    return graph(
        "Usage that was not kept, messages a second",
        (rate("tidegate_usage_dropped_total", where=where), "dropped"),
        says="'tidegate audit' does not know of it. No stream USAGE, or no right: run 'tidegate accounts' and 'setup'.",
    )


def _worker(service: str) -> tuple[Row, ...]:
    """Return the rows that every worker loop has."""
    return _work(f'service="{service}"'), _trouble(f'service="{service}"')


def _work(of: str) -> Row:
    return Row(
        "Work",
        (
            graph(
                "Messages a second",
                (rate("tidegate_segments_in_total", where=of), "taken"),
                (rate("tidegate_segments_out_total", where=of), "done"),
                (rate("tidegate_items_total", where=of), "frames, images or jobs computed"),
            ),
            _quantiles("From a frame's wall clock to its stored result", "tidegate_latency_seconds", of),
            graph(
                "Where the time goes, 99 %",
                (quantile(0.99, "tidegate_stage_seconds", "stage", of), "{{stage}}"),
                unit="s",
                says="queued: too few replicas. prepare: too few cores. infer: the GPU. publish: the server.",
            ),
            graph(
                "How busy",
                (rate("tidegate_working_seconds_total", "pod", of), "{{pod}}, with work in hand"),
                (rate("tidegate_busy_seconds_total", "pod", of), "{{pod}}, device computes"),
                unit="percentunit",
            ),
            graph(
                "Batches",
                (
                    f"{rate('tidegate_batch_size_sum', where=of)} / {rate('tidegate_batch_size_count', where=of)}",
                    "items in one",
                ),
                (gauge("tidegate_messages_in_flight", "sum", where=of), "messages in flight"),
            ),
            graph("Bytes taken", (rate("tidegate_bytes_in_total", where=of), "taken"), unit="Bps"),
        ),
    )


def _bent(of: str) -> tuple[Graph, Graph]:
    """Return the graphs of work that is deferred while capacity is short."""
    return (
        graph(
            "Frames a second, at first",
            (rate("tidegate_frames_wanted_total", where=of), "wanted"),
            (rate("tidegate_frames_analysed_total", where=of), "looked at"),
            (rate("tidegate_frames_deferred_total", "cause", of), "left out, {{cause}}"),
            (rate("tidegate_frames_never_analysed_total", where=of), "never analysed"),
            says="None where no latency target is set.",
        ),
        graph(
            "Work, replicas' seconds a second",
            (rate("tidegate_work_wanted_seconds_total", where=of), "in full"),
            (rate("tidegate_work_seconds_total", where=of), "as it was looked at"),
        ),
    )


def _quality(service: str) -> Row:
    """Return the row on graceful degradation of a service that analyses segments: deferred and backfilled work."""
    of = f'service="{service}"'
    quiet = graph(
        "Quiet video, segments a second",
        (rate("tidegate_static_scene_segments_total"), "nothing has changed"),
        (rate("tidegate_static_scene_backfills_total"), "looked at after all"),
        (rate("tidegate_static_scene_images_total"), "images saved"),
        (rate("tidegate_static_scene_bad_entries_total"), "scenes that can't be used"),
        (rate("tidegate_static_scene_restless_segments_total"), "analysed in full: the scene is too restless"),
        says="Of these no detector was asked: their events say the boxes of the look that they equal.",
    )
    repeated = graph(
        "Static scenes, vectors a second",
        (rate("tidegate_static_scene_vectors_total"), "repeated"),
        says="Nothing has changed: the vectors of an earlier segment were published again, without inference.",
    )
    fallback = graph(
        "By the default model, segments a second",
        (rate("tidegate_unknown_model_segments_total"), "CV_MODELS lacks the camera's model"),
        says="Of cameras that select a model by name: the log of cv names them.",
    )
    second = graph(
        "Recordings, segments a second",
        (rate("tidegate_reanalysis_segments_total", "result", of), "{{result}}"),
        says="Looked at for 'tidegate reanalyze --live', while there was nothing else to do.",
    )
    return Row(
        "Quality",
        (
            *_bent(of),
            graph(
                "Looked at again, segments a second",
                (rate("tidegate_backfill_jobs_total", "result", of), "{{result}}"),
                says="Less of them was looked at first. expired: replicas had no time while the video was kept.",
            ),
            *([quiet, fallback, second] if service == "cv" else [repeated]),
        ),
    )


def _trouble(of: str) -> Row:
    return Row(
        "Trouble",
        (
            graph(
                "Dead letters and failures, a second",
                (rate("tidegate_dead_lettered_total", "cause", of), "dead letters, {{cause}}"),
                (rate("tidegate_failed_total", "cause", of), "tries that failed, {{cause}}"),
            ),
            graph(
                "Done again, a second",
                (rate("tidegate_redelivered_total", where=of), "came again"),
                (rate("tidegate_duplicate_results_total", where=of), "result was there"),
                (rate("tidegate_handed_back_total", where=of), "handed back"),
            ),
            graph(
                "Video that is not worked on",
                (gauge("tidegate_cameras_quarantined", where=of), "cameras in quarantine"),
                (rate("tidegate_unreadable_skipped_total", where=of), "can't be read, a second"),
                (rate("tidegate_over_budget_total", "cause", of), "too costly, a second, {{cause}}"),
            ),
            graph(
                "Decoded on the CPU in spite of DECODE_DEVICE, a second",
                (rate("tidegate_decode_fallbacks_total", "cause", of), "{{cause}}"),
            ),
            graph(
                "Expired before it was seen, a second",
                (
                    f"max by (consumer) (rate(tidegate_segments_expired_total{{{_OURS}, {of}}}[$__rate_interval]))",
                    "{{consumer}}",
                ),
            ),
            _usage(of),
        ),
    )


INGEST = Page(
    name="ingest",
    title="Tidegate: ingest",
    rows=(
        Row(
            "Cameras",
            (
                graph(
                    "Cameras",
                    (gauge("tidegate_ingest_cameras_owned", "sum"), "read"),
                    (gauge("tidegate_ingest_cameras_online", "sum"), "deliver video"),
                    (gauge("tidegate_ingest_cameras_waiting"), "no ingest has room for"),
                    (gauge("tidegate_ingest_main_streams_offline", "sum"), "have no main stream"),
                ),
                graph("By ingest", (gauge("tidegate_ingest_cameras_owned", "sum", "pod"), "{{pod}}")),
                graph(
                    "Connections that ended or failed, the ten worst cameras, an hour",
                    (
                        f"topk(10, sum by (camera, cause) (increase(tidegate_ingest_reconnects_total{{{_OURS}}}[1h])))",
                        "{{camera}}, {{cause}}",
                    ),
                ),
                graph(
                    "Corrections of cameras' clocks, a second",
                    (rate("tidegate_ingest_reanchors_total", "pod"), "{{pod}}"),
                ),
            ),
        ),
        Row(
            "Storing",
            (
                graph(
                    "Segments and frames a second",
                    (rate("tidegate_ingest_segments_total"), "segments stored"),
                    (rate("tidegate_ingest_frames_total"), "frames in them"),
                ),
                graph("Bytes stored", (rate("tidegate_ingest_bytes_total"), "stored"), unit="Bps"),
                _quantiles("From a segment's cut to its acknowledgement", "tidegate_ingest_publish_seconds"),
                graph(
                    "The segment that has waited longest",
                    (gauge("tidegate_ingest_waiting_seconds", by="pod"), "{{pod}}"),
                    unit="s",
                    says="Over 30 s JetStream is away, or stores nothing more.",
                ),
            ),
        ),
        Row(
            "Lost",
            (
                graph(
                    "Segments dropped, a second", (rate("tidegate_ingest_dropped_segments_total", "cause"), "{{cause}}")
                ),
                graph("Frames dropped, a second", (rate("tidegate_ingest_dropped_frames_total", "cause"), "{{cause}}")),
                graph(
                    "Tries that JetStream did not take, a second",
                    (rate("tidegate_ingest_publish_errors_total", "cause"), "{{cause}}"),
                ),
                _usage('service="ingest"'),
            ),
        ),
        _pods("ingest"),
    ),
)

VLM = Page(
    name="vlm",
    title="Tidegate: vlm",
    rows=(
        Row(
            "Jobs",
            (
                graph(
                    "Jobs that ended, a second",
                    (rate("tidegate_vlm_jobs_total", "kind, outcome"), "{{kind}}, {{outcome}}"),
                ),
                _quantiles("From a job's storage to its result", "tidegate_vlm_job_seconds", by="kind"),
                _quantiles("To the first token", "tidegate_vlm_first_token_seconds", by="kind"),
                graph(
                    "Questions on svc.ask, a second",
                    (rate("tidegate_vlm_queries_total", "kind, code"), "{{kind}}, {{code}}"),
                ),
                graph(
                    "Captions planned, a second",
                    (rate("tidegate_vlm_captions_planned_total", "outcome"), "{{outcome}}"),
                ),
            ),
        ),
        Row("Quality of captions", _bent('service="vlm"')),
        Row(
            "Model",
            (
                graph(
                    "Endpoints",
                    (gauge("tidegate_vlm_endpoint_up", "sum", where='component="vlm"'), "well"),
                    (rate("tidegate_vlm_server_restarts_total"), "restarts of vLLM, a second"),
                ),
                graph(
                    "Requests in vLLM",
                    (gauge("tidegate_vlm_requests_running", "sum", where='component="vlm"'), "running"),
                    (gauge("tidegate_vlm_requests_waiting", "sum", where='component="vlm"'), "waiting"),
                ),
                graph(
                    "KV cache in use",
                    (gauge("tidegate_vlm_cache_ratio", by="pod", where='component="vlm"'), "{{pod}}"),
                    unit="percentunit",
                ),
                graph(
                    "Tokens a second",
                    (rate("tidegate_vlm_tokens_total", "direction"), "{{direction}}"),
                    (rate("tidegate_static_scene_tokens_total"), "saved: nothing has changed"),
                ),
                graph(
                    "Requests to the endpoint, a second",
                    (rate("tidegate_vlm_requests_total", "outcome"), "{{outcome}}"),
                ),
            ),
        ),
        *_worker("vlm"),
        _pods("vlm"),
    ),
)

SEARCH = Page(
    name="search",
    title="Tidegate: search",
    rows=(
        Row(
            "Index",
            (
                graph("Rows a second", (rate("tidegate_search_rows_total", "kind"), "{{kind}}")),
                graph("Events that wait", (gauge("tidegate_search_pending"), "not in the index yet")),
                graph(
                    "Size",
                    (gauge("tidegate_search_bytes"), "on disk"),
                    (gauge("tidegate_search_cached_bytes"), "kept in memory"),
                    (
                        f'max({_ROOM}{{{_OURS}, persistentvolumeclaim="index-tidegate-search-0"}})',
                        "room on the disk",
                    ),
                    unit="bytes",
                ),
                _quantiles("A write", "tidegate_search_write_seconds"),
                graph(
                    "Not written, a second",
                    (rate("tidegate_search_write_failures_total"), "writes that failed"),
                    (rate("tidegate_search_refused_total"), "no events, dead letters"),
                    (rate("tidegate_search_dropped_total", "cause"), "rows dropped, {{cause}}"),
                ),
            ),
        ),
        Row(
            "Queries",
            (
                _quantiles("A query", "tidegate_search_query_seconds", by="by"),
                graph(
                    "Queries a second",
                    (rate("tidegate_search_query_seconds_count", "by"), "by {{by}}"),
                    (rate("tidegate_search_refusals_total", "code"), "refused, {{code}}"),
                ),
            ),
        ),
        _pods("search"),
    ),
)

ANALYTICS = Page(
    name="analytics",
    title="Tidegate: analytics",
    rows=(
        Row(
            "Work",
            (
                graph(
                    "Age of what is read", (gauge("tidegate_analytics_behind_seconds", by="pod"), "{{pod}}"), unit="s"
                ),
                _quantiles("From detections to the events that follow", "tidegate_analytics_latency_seconds"),
                graph("Segments read, a second", (rate("tidegate_analytics_segments_total", "outcome"), "{{outcome}}")),
                graph("Events a second", (rate("tidegate_analytics_events_total", "kind"), "{{kind}}")),
                graph("Tracks begun, a second", (rate("tidegate_analytics_objects_total"), "tracks")),
                graph(
                    "Incidents, a second",
                    (rate("tidegate_analytics_verifications_total", "outcome"), "verification {{outcome}}"),
                    (rate("tidegate_analytics_suppressed_total"), "kept back"),
                ),
            ),
        ),
        Row(
            "Second pass",
            (
                graph(
                    "Segments of which frames were left out, a second",
                    (rate("tidegate_analytics_deferred_total", "outcome"), "{{outcome}}"),
                ),
                graph("Waited for", (gauge("tidegate_analytics_deferred_waiting", "sum"), "segments")),
                graph("Passes, a second", (rate("tidegate_analytics_second_passes_total", "outcome"), "{{outcome}}")),
                graph("Said otherwise, a second", (rate("tidegate_analytics_amended_total", "what"), "{{what}}")),
            ),
        ),
        Row(
            "Replicas and trouble",
            (
                graph(
                    "Cameras",
                    (gauge("tidegate_analytics_cameras", by="pod"), "{{pod}}"),
                    says="400 are as many as fit well.",
                ),
                graph(
                    "Partitions",
                    (gauge("tidegate_analytics_partitions", by="pod"), "{{pod}}"),
                    (rate("tidegate_analytics_moves_total", "what"), "{{what}}, a second"),
                ),
                graph(
                    "Missing, a second",
                    (rate("tidegate_analytics_gaps_total"), "segments that did not come"),
                    (rate("tidegate_analytics_unstorable_total", "kind"), "events that can't be stored, {{kind}}"),
                    (rate("tidegate_analytics_bad_rules_total"), "rules that can't be used"),
                ),
                graph("Checkpoints", (rate("tidegate_analytics_checkpoint_bytes_total"), "written"), unit="Bps"),
                graph("Cameras' states", (gauge("tidegate_analytics_state_bytes", by="pod"), "{{pod}}"), unit="bytes"),
            ),
        ),
        Row(
            "Pictures of alerts",
            (
                graph("Alerts a second", (rate("tidegate_pictures_total", "outcome"), "{{outcome}}")),
                _quantiles("From an alert to its picture", "tidegate_pictures_latency_seconds"),
            ),
        ),
        _pods("analytics"),
    ),
)

WEBHOOK = Page(
    name="webhook",
    title="Tidegate: webhook",
    rows=(
        Row(
            "Delivery",
            (
                graph("Requests a second", (rate("tidegate_webhook_requests_total", "outcome"), "{{outcome}}")),
                _quantiles("From an event to its delivery", "tidegate_webhook_latency_seconds"),
                graph(
                    "Events that wait",
                    (
                        f'max(jetstream_consumer_num_pending{{{_LED}, consumer_name="webhook"}})',
                        "pending",
                    ),
                    says="Other events than alerts are passed over, and pending until then.",
                ),
                graph("Given up, a second", (rate("tidegate_webhook_dead_letters_total"), "dead letters")),
                graph(
                    "Unusable endpoints, a second",
                    (rate("tidegate_webhook_unusable_endpoints_total"), "refused entries"),
                    says="The last usable endpoint stays. 'tidegate apply' writes another one.",
                ),
            ),
        ),
        _pods("webhook"),
    ),
)

RECORDER = Page(
    name="recorder",
    title="Tidegate: recorder",
    rows=(
        Row(
            "Recording",
            (
                graph(
                    "Segments a second",
                    (rate("tidegate_recorder_segments_total", "outcome"), "{{outcome}}"),
                    says="expired: MEDIA let them go first. dropped: they never came. damaged: they make no file.",
                ),
                graph(
                    "Age of the oldest segment that is not recorded",
                    (gauge("tidegate_recorder_behind_seconds", by="pod"), "{{pod}}"),
                    unit="s",
                    says="A minute or two, as a file has a minute. MEDIA keeps ten by default.",
                ),
                graph(
                    "Files a second",
                    (rate("tidegate_recorder_files_total"), "written"),
                    (rate("tidegate_recorder_removed_files_total", "cause"), "removed, {{cause}}"),
                ),
                graph(
                    "Bytes",
                    (rate("tidegate_recorder_bytes_total"), "written"),
                    (rate("tidegate_recorder_thinned_bytes_total"), "less, as keyframes alone stay"),
                    unit="Bps",
                ),
            ),
        ),
        Row(
            "Store and replicas",
            (
                _quantiles("A file's way to the store", "tidegate_recorder_write_seconds"),
                graph(
                    "Failures of the store, a second",
                    (rate("tidegate_recorder_store_failures_total", "pod"), "{{pod}}"),
                ),
                graph(
                    "Room on the disk",
                    (
                        f"min by (persistentvolumeclaim) ({_ROOM}{{{_OURS}, "
                        f'persistentvolumeclaim=~"recordings-tidegate-recorder-.+"}})',
                        "{{persistentvolumeclaim}}",
                    ),
                    unit="bytes",
                    says="A tenth of it stays free, by RECORDER_FREE. A bucket has none.",
                ),
                graph(
                    "Cameras",
                    (gauge("tidegate_recorder_cameras", by="pod"), "{{pod}}"),
                    (gauge("tidegate_recorder_unrecorded_cameras", by="pod"), "{{pod}}, not recorded"),
                ),
                graph("Partitions", (gauge("tidegate_recorder_partitions", by="pod"), "{{pod}}")),
            ),
        ),
        _pods("recorder"),
    ),
)

CONSOLE = Page(
    name="console",
    title="Tidegate: console",
    rows=(
        Row(
            "Browsers",
            (
                graph("Requests a second", (rate("tidegate_console_requests_total", "status"), "{{status}}")),
                graph("Sign-ins tried, a second", (rate("tidegate_console_sign_ins_total", "result"), "{{result}}")),
                graph("Listening", (gauge("tidegate_console_viewers", "sum"), "browsers")),
                graph(
                    "Dropped, a second",
                    (rate("tidegate_console_dropped_total", "what"), "{{what}}"),
                    says="A slow browser loses older pictures and events, and is told how many.",
                ),
            ),
        ),
        _pods("console"),
    ),
)

SCALER = Page(
    name="scaler",
    title="Tidegate: scaler",
    rows=(
        Row(
            "Demand",
            (
                graph(
                    "Replicas",
                    (gauge("tidegate_demand", by="service", where='term="replicas"'), "{{service}}"),
                ),
                graph(
                    "What makes them",
                    (gauge("tidegate_demand", by="service", where='term="arrival_replicas"'), "{{service}}, arrivals"),
                    (gauge("tidegate_demand", by="service", where='term="backlog_replicas"'), "{{service}}, backlog"),
                    (gauge("tidegate_demand", by="service", where='term="held_replicas"'), "{{service}}, held"),
                ),
                graph(
                    "What a busy replica does, messages a second",
                    (gauge("tidegate_demand", by="service", where='term="service_rate"'), "{{service}}"),
                ),
                graph(
                    "Backlog",
                    (gauge("tidegate_demand", by="service", where='term="backlog"'), "{{service}}"),
                    (gauge("tidegate_demand", by="service", where='term="backlog_expected"'), "{{service}}, expected"),
                    (gauge("tidegate_demand", by="service", where='term="backlog_allowed"'), "{{service}}, allowed"),
                    (gauge("tidegate_demand", by="service", where='term="backlog_stuck"'), "{{service}}, stuck"),
                ),
                graph(
                    "Replicas as they are heard",
                    (gauge("tidegate_demand", by="service", where='term="ready"'), "{{service}}, ready"),
                    (gauge("tidegate_demand", by="service", where='term="warming"'), "{{service}}, starting"),
                ),
            ),
        ),
        Row(
            "Questions",
            (
                graph(
                    "Asked, a second", (rate("tidegate_scaler_requests_total", "method, code"), "{{method}}, {{code}}")
                ),
                graph(
                    "Asked of JetStream, a second",
                    (rate("tidegate_scaler_consumer_requests_total", "stream, consumer"), "{{stream}}, {{consumer}}"),
                ),
                graph("gRPC streams open", (gauge("tidegate_scaler_streams", "sum", "method"), "{{method}}")),
            ),
        ),
        _pods("scaler"),
    ),
)


def _stream(metric: str) -> str:
    return f"max by (stream_name) ({metric}{{{_OURS}}})"


NATS = Page(
    name="nats",
    title="Tidegate: NATS",
    rows=(
        Row(
            "Streams",
            (
                graph(
                    "Messages stored a second",
                    (
                        f"max by (stream_name) (rate(jetstream_stream_last_seq{{{_OURS}}}[$__rate_interval]))",
                        "{{stream_name}}",
                    ),
                ),
                graph(
                    "Size",
                    (_stream("jetstream_stream_total_bytes"), "{{stream_name}}"),
                    (f"{_stream('jetstream_stream_limit_bytes')} > 0", "{{stream_name}}, at most"),
                    unit="bytes",
                ),
                graph(
                    "Messages kept",
                    (
                        f"{_stream('jetstream_stream_last_seq')} - {_stream('jetstream_stream_first_seq')}",
                        "{{stream_name}}",
                    ),
                ),
                graph(
                    "Pending, by consumer",
                    (
                        f"max by (consumer_name) (jetstream_consumer_num_pending{{{_LED}}})",
                        "{{consumer_name}}",
                    ),
                ),
                graph(
                    "Since the last acknowledgement",
                    (
                        f"max by (consumer_name) (jetstream_consumer_last_ack_seconds{{{_LED}}})",
                        "{{consumer_name}}",
                    ),
                    unit="s",
                ),
                graph(
                    "Dead letters, in all",
                    (f'max(jetstream_stream_last_seq{{{_OURS}, stream_name="DLQ"}})', "ever written"),
                ),
            ),
        ),
        Row(
            "Servers",
            (
                graph(
                    "Not well",
                    (f"max by (pod) (gnatsd_healthz_status{{{_OURS}}})", "{{pod}}"),
                    says="0 is well. A stream that has stopped stays so until its server is restarted.",
                ),
                graph(
                    "Storage",
                    (f"max by (pod) (jetstream_server_total_message_bytes{{{_OURS}}})", "{{pod}}"),
                    (f"max by (pod) (jetstream_server_max_storage{{{_OURS}}})", "{{pod}}, at most"),
                    (
                        f'min by (persistentvolumeclaim) ({_ROOM}{{{_OURS}, persistentvolumeclaim=~"store-nats-.+"}})',
                        "{{persistentvolumeclaim}}, room",
                    ),
                    unit="bytes",
                ),
                graph(
                    "Bytes",
                    (f"rate(gnatsd_varz_in_bytes{{{_OURS}}}[$__rate_interval])", "{{pod}}, in"),
                    (f"rate(gnatsd_varz_out_bytes{{{_OURS}}}[$__rate_interval])", "{{pod}}, out"),
                    unit="Bps",
                ),
                graph(
                    "Connections",
                    (f"gnatsd_varz_connections{{{_OURS}}}", "{{pod}}"),
                    (
                        f"rate(gnatsd_varz_slow_consumers{{{_OURS}}}[$__rate_interval])",
                        "{{pod}}, slow consumers a second",
                    ),
                ),
                graph("CPU, percent of a core", (f"gnatsd_varz_cpu{{{_OURS}}}", "{{pod}}")),
                graph("Memory", (f"gnatsd_varz_mem{{{_OURS}}}", "{{pod}}"), unit="bytes"),
            ),
        ),
    ),
)

CV, EMBED = (
    Page(name=name, title=f"Tidegate: {name}", rows=(*_worker(name), _quality(name), _pods(name)))
    for name in ("cv", "embed")
)

PAGES = (INGEST, CV, EMBED, VLM, SEARCH, ANALYTICS, WEBHOOK, RECORDER, CONSOLE, SCALER, NATS)
