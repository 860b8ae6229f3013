"""The numbers as kustomize components, one for each form of scaling. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bench.gpu.plan import Numbers

DEMAND = "http://tidegate-scaler.tidegate.svc.cluster.local:9091/demand"
_HEAD = """\
# {about}
#
# In an overlay of your own, over the one of your GPU:
#
#   resources: [../deploy/kubernetes/overlays/{overlay}]
#   components: [<this folder>]
#
# Or copy `patches` and all below it to the end of that overlay.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
"""
_RATE = """\
  # {command}
  - target: {{kind: ScaledObject, name: tidegate-{n.service}}}
    patch: |-
      - op: replace
        path: /metadata/annotations/tidegate.dev~1segments-per-second
        value: "{n.rate}"
      - op: replace
        path: /metadata/annotations/tidegate.dev~1latency-target-seconds
        value: "{t.latency_s:g}"
"""
_LAG = """\
      - op: replace
        path: /spec/triggers/0/metadata/lagThreshold
        value: "{t.value}"
"""
_DEMAND = """\
      - op: replace
        path: /metadata/annotations/tidegate.dev~1cold-start-seconds
        value: "{t.cold_start_s:g}"
      # With the component mtls this is https.
      - op: replace
        path: /spec/triggers/0/metadata/url
        value: {url}
      - op: replace
        path: /spec/triggers/1/metadata/lagThreshold
        value: "{t.fallback}"
      - op: replace
        path: /spec/triggers/2/metadata/lagThreshold
        value: "{t.deferred}"
"""
_WORKER = """\
  - target: {{kind: Deployment, name: tidegate-{n.service}}}
    patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata: {{name: tidegate-{n.service}}}
      spec:
        template:
          spec:
            containers:
              - name: {n.service}
                env:
                  - {{name: {prefix}_BATCH_SIZE, value: "{n.batch}"}}
                  - {{name: {prefix}_THREADS, value: "{n.threads}"}}
                resources: {{requests: {{cpu: "{n.cpu}"}}}}
"""
_PLACEHOLDER = """\
  # As large as a worker of cv.
  - target: {{kind: Deployment, name: tidegate-placeholder}}
    patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata: {{name: tidegate-placeholder}}
      spec: {{template: {{spec: {{containers: [{{name: pause, resources: {{requests: {{cpu: "{n.cpu}"}}}}}}]}}}}}}
"""
_SETUP = """\
  # {n.replicas} replicas hold {n.hold} segments each.
  - target: {{kind: Job, name: tidegate-setup-.*}}
    patch: |-
      - op: add
        path: /spec/template/spec/containers/0/env/-
        value: {{name: MAX_ACK_PENDING, value: "{n.max_ack_pending}"}}
"""


def component(all: Iterable[Numbers], *, demand: bool, about: str, overlay: str, default_ack_pending: int) -> str:
    """Return the text of a `kustomization.yaml`. about: the source of the numbers, on one line."""
    form = f"{overlay}/demand" if demand else overlay
    text = _HEAD.format(about=about, overlay=form)
    for n in all:
        t = n.threshold
        text += (_RATE + (_DEMAND if demand else _LAG)).format(n=n, t=t, command=command(n), url=_url(n))
        text += _WORKER.format(n=n, prefix=n.service.upper())
        if n.service == "cv":
            text += _PLACEHOLDER.format(n=n)
    most = max(all, key=lambda n: n.max_ack_pending)
    return text + (_SETUP.format(n=most) if most.max_ack_pending > default_ack_pending else "")


def command(n: Numbers) -> str:
    """Return the command that computes the thresholds."""
    t = n.threshold
    return (
        f"tidegate threshold --rate {n.rate} --latency {t.latency_s:g} --hold {n.hold} --cold-start {t.cold_start_s:g}"
    )


def _url(n: Numbers) -> str:
    t = n.threshold
    query = f"service={n.service}&latencyTarget={t.latency_s:g}&coldStart={t.cold_start_s:g}&lagThreshold={t.value}"
    return f"{DEMAND}?{query}"
