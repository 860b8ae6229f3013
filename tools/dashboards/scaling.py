"""Whether GPUs follow the video, and what they cost."""

from __future__ import annotations

from tools.dashboards.page import Graph, Page, Row, gauge, graph, quantile, rate

SERVICES = ("cv", "embed", "vlm")
_OURS = 'namespace="$namespace"'
_GPUS = f'{_OURS}, resource="nvidia_com_gpu", node!=""'
_PODS = '"workload", "$1", "pod", "tidegate-(.+)-[0-9a-z]+-[0-9a-z]+"'
# vLLM, which has the GPU of vlm, is a sidecar, and so one of the init containers.
HELD = (
    f"sum by (workload) (label_replace(kube_pod_container_resource_requests{{{_GPUS}}}, {_PODS})"
    f" or label_replace(kube_pod_init_container_resource_requests{{{_GPUS}}}, {_PODS}))"
)
_WORKERS = f'up{{{_OURS}, component=~"cv|embed|vlm"}}'
_BUSY = rate("tidegate_working_seconds_total", where='component=~"cv|embed|vlm"')
IDLE = f"1 - {_BUSY} / count({_WORKERS} == 1)"


def _pending(service: str) -> str:
    which = f'consumer_name=~"{service}(-.+)?", consumer_name!="vlm-plan", is_consumer_leader="true"'
    return (
        f"sum by (consumer_name) (jetstream_consumer_num_pending{{{_OURS}, {which}}}"
        f" + jetstream_consumer_num_ack_pending{{{_OURS}, {which}}})"
    )


def _follows(service: str) -> Row:
    of, scaled = f'service="{service}"', f'scaledObject="tidegate-{service}"'
    deployment = f'{_OURS}, deployment="tidegate-{service}"'
    hpa = f'{_OURS}, horizontalpodautoscaler="keda-hpa-tidegate-{service}"'
    replicas = graph(
        "Replicas: needed for the load, requested, ready",
        (gauge("tidegate_demand", by="consumer", where=f'{of}, term="replicas"'), "demand, {{consumer}}"),
        (f"max(kube_deployment_spec_replicas{{{deployment}}})", "requested"),
        (gauge("tidegate_replicas", where=of), "requested, by tidegate up"),
        (f"max(kube_deployment_status_replicas_ready{{{deployment}}})", "ready"),
        (f"max(kube_horizontalpodautoscaler_spec_max_replicas{{{hpa}}})", "at most"),
        says="GPUs follow the video where ready follows demand within a cold start. The scaler alone tells demand.",
    )
    load = graph(
        "Messages a second: what arrives, what is planned for, what is done",
        (gauge("tidegate_demand", by="consumer", where=f'{of}, term="arrival_rate"'), "arrives, {{consumer}}"),
        (gauge("tidegate_demand", by="consumer", where=f'{of}, term="planned_rate"'), "planned for, {{consumer}}"),
        (rate("tidegate_segments_out_total", where=of), "done"),
    )
    waiting = graph(
        "Messages that wait or are in work",
        (_pending(service), "{{consumer_name}}, by NATS"),
        (gauge("tidegate_demand", by="consumer", where=f'{of}, term="backlog"'), "{{consumer}}, by the scaler"),
    )
    age = graph(
        "How old they are",
        (quantile(0.99, "tidegate_stage_seconds", where=f'{of}, stage="queued"'), "99 % had waited less when taken"),
        (
            f'max(jetstream_consumer_num_pending{{{_OURS}, consumer_name="{service}", is_consumer_leader="true"}})'
            f' / max(rate(jetstream_stream_last_seq{{{_OURS}, stream_name="MEDIA"}}[5m]))',
            "the oldest of MEDIA, by what arrives",
        ),
        unit="s",
        says="MEDIA keeps ten minutes by default.",
    )
    keda = graph(
        "What KEDA reads",
        (f"max by (metric) (keda_scaler_metrics_value{{{scaled}}})", "{{metric}}"),
        (f"max by (metric) (keda_scaler_active{{{scaled}}})", "{{metric}} is active"),
        (f"max(keda_scaled_object_paused{{{scaled}}})", "paused"),
    )
    errors = graph(
        "Errors of scaling, a second",
        (f"sum by (scaler) (rate(keda_scaler_detail_errors_total{{{scaled}}}[$__rate_interval]))", "KEDA, {{scaler}}"),
        (f"sum(rate(keda_scaled_object_errors_total{{{scaled}}}[$__rate_interval]))", "KEDA, in all"),
    )
    return Row(service, (replicas, load, waiting, age, keda, errors))


def _numbers() -> tuple[Graph, ...]:
    return (
        graph("Cameras that deliver", (gauge("tidegate_ingest_cameras_online", "sum"), ""), number=True),
        graph("Segments stored a second", (rate("tidegate_ingest_segments_total"), ""), number=True),
        graph(
            "Latency of cv, 99 %",
            (quantile(0.99, "tidegate_latency_seconds", where='service="cv"'), ""),
            unit="s",
            number=True,
        ),
        graph("GPUs held", (f"sum({HELD})", ""), number=True),
        graph(
            "Idle share of workers",
            (IDLE, ""),
            unit="percentunit",
            number=True,
            says="The share of the time in which a worker that runs had nothing in hand, starting included.",
        ),
        graph(
            "Paid in this time",
            (f"$price * sum(sum_over_time(({HELD})[$__range:1m])) / 60", ""),
            unit="none",
            number=True,
            says="Whole GPUs that our pods held, placeholder included, times the price. Empty nodes are not in it.",
        ),
    )


def _costs() -> tuple[Graph, ...]:
    lived = "max by (service) (increase(tidegate_replica_{}seconds_total{{" + _OURS + "}}[1h])) / 3600"
    return (
        graph(
            "GPUs held, by what holds them",
            (HELD, "{{workload}}"),
            says="`placeholder` is the GPU that is kept warm.",
        ),
        graph("Money an hour", (f"$price * sum({HELD})", "all"), (f"$price * {HELD}", "{{workload}}"), unit="none"),
        graph(
            "Replica hours of the last hour",
            (lived.format(""), "{{service}}"),
            (lived.format("busy_"), "{{service}}, busy"),
            (lived.format("idle_"), "{{service}}, idle"),
            (lived.format("warming_"), "{{service}}, starting"),
            says="As the scaler hears of them: in the demand form alone.",
        ),
        graph(
            "Idle share of workers",
            (
                "1 - "
                + rate("tidegate_working_seconds_total", "component", 'component=~"cv|embed|vlm"')
                + f" / count by (component) ({_WORKERS} == 1)",
                "{{component}}",
            ),
            unit="percentunit",
        ),
        graph(
            "Saved beside a fleet of the peak's size",
            (gauge("tidegate_replica_saving_ratio", by="service"), "{{service}}"),
            unit="percentunit",
            says="Since the scaler started.",
        ),
    )


PAGE = Page(
    name="gpus",
    title="Tidegate: GPUs and video",
    priced=True,
    rows=(Row("Now", _numbers()), *(_follows(service) for service in SERVICES), Row("Costs", _costs())),
)
