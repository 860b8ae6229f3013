"""Metrics that alerts and dashboards read and that are not ours: their labels, by exporter."""

from __future__ import annotations

# Labels that Prometheus and its operator add to targets of a PodMonitor; ours adds `component`.
OF_TARGETS = frozenset({"namespace", "pod", "container", "endpoint", "job", "instance", "component"})

_STREAM = frozenset({"server_name", "account", "stream_name", "stream_leader", "is_stream_leader"})
_CONSUMER = _STREAM | {"consumer_name", "is_consumer_leader"}
_DEPLOYMENT, _HPA = frozenset({"namespace", "deployment"}), frozenset({"namespace", "horizontalpodautoscaler"})
_CONTAINER = frozenset({"namespace", "pod", "container"})
_RESOURCE = _CONTAINER | {"node", "resource", "unit"}
_KEDA = frozenset({"namespace", "metric", "scaledObject", "scaler", "triggerIndex", "type"})
_CLAIM = frozenset({"namespace", "persistentvolumeclaim"})

FOREIGN: dict[str, frozenset[str]] = {
    # Prometheus itself.
    "up": frozenset(),
    # nats-io/prometheus-nats-exporter, collector/jsz.go and healthz.go; those of varz are fields of NATS' page /varz.
    "jetstream_consumer_num_pending": _CONSUMER,
    "jetstream_consumer_num_ack_pending": _CONSUMER,
    "jetstream_consumer_last_ack_seconds": _CONSUMER,
    "jetstream_stream_last_seq": _STREAM,
    "jetstream_stream_first_seq": _STREAM,
    "jetstream_stream_total_bytes": _STREAM,
    "jetstream_stream_limit_bytes": _STREAM,
    "jetstream_server_max_storage": frozenset({"server_name"}),
    "jetstream_server_total_message_bytes": frozenset({"server_name"}),
    "gnatsd_healthz_status": frozenset({"server_id"}),
    "gnatsd_varz_connections": frozenset({"server_id"}),
    "gnatsd_varz_cpu": frozenset({"server_id"}),
    "gnatsd_varz_in_bytes": frozenset({"server_id"}),
    "gnatsd_varz_mem": frozenset({"server_id"}),
    "gnatsd_varz_out_bytes": frozenset({"server_id"}),
    "gnatsd_varz_slow_consumers": frozenset({"server_id"}),
    # kedacore/keda, pkg/metricscollector/prommetrics.go.
    "keda_scaler_metrics_value": _KEDA,
    "keda_scaler_active": _KEDA,
    "keda_scaler_detail_errors_total": _KEDA,
    "keda_scaled_object_errors_total": frozenset({"namespace", "scaledObject"}),
    "keda_scaled_object_paused": frozenset({"namespace", "scaledObject"}),
    # kubernetes/kube-state-metrics, docs/metrics/workload.
    "kube_deployment_spec_replicas": _DEPLOYMENT,
    "kube_deployment_status_replicas_ready": _DEPLOYMENT,
    "kube_horizontalpodautoscaler_spec_max_replicas": _HPA,
    "kube_horizontalpodautoscaler_status_desired_replicas": _HPA,
    "kube_pod_container_resource_requests": _RESOURCE,
    "kube_pod_init_container_resource_requests": _RESOURCE,
    "kube_pod_container_status_restarts_total": _CONTAINER,
    "kube_pod_init_container_status_restarts_total": _CONTAINER,
    "kube_statefulset_replicas": frozenset({"namespace", "statefulset"}),
    "kube_statefulset_status_replicas_ready": frozenset({"namespace", "statefulset"}),
    # The kubelet, of volumes that are claims.
    "kubelet_volume_stats_available_bytes": _CLAIM,
    "kubelet_volume_stats_capacity_bytes": _CLAIM,
}
