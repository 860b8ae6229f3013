"""The inference server: whether it has the model, what the model takes, and its answers.

    client = Client(parse("triton://gpu-1:8001/yolo11"))
    if reason := client.missing(): ...
    outputs = client.infer({"images": batch}, ["output0"])

A server that is away is tried again for a few seconds. Then `Away` ends the worker, and its next start waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from services.cv.detectors.kserve import tensors
from services.cv.detectors.kserve.inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
)
from services.cv.remote import Address
from shared.contract.memory import MB
from shared.runtime.backoff import Backoff
from shared.runtime.errors import Away, ModelError

PROBE_S = 5.0
# Of one batch, on a busy server.
INFER_S = 30.0
# A server that restarts is back within it. The acknowledgement deadline of a segment is far longer.
AWAY_S = 15.0
# An answer of 128 images with 8400 cells of 84 values is 361 MB in f32.
LARGEST_ANSWER = 512 * MB
_DELAYS = Backoff(first_s=0.2, longest_s=2.0)
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_SERVICE = "/inference.GRPCInferenceService/"

R = TypeVar("R")
_DATATYPES = {np.dtype(form): name for name, form in tensors.TYPES.items()}


class Client:
    """See the module. away_s: seconds for which a call is repeated while the server is away."""

    def __init__(self, address: Address, *, away_s: float = AWAY_S) -> None:
        self._address, self._away_s = address, away_s
        options = [("grpc.max_receive_message_length", LARGEST_ANSWER), ("grpc.max_send_message_length", -1)]
        target = address.target
        self._channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
            if address.tls
            else grpc.insecure_channel(target, options)
        )
        self._ready: Callable[..., ModelReadyResponse] = self._method("ModelReady", ModelReadyResponse)
        self._metadata: Callable[..., ModelMetadataResponse] = self._method("ModelMetadata", ModelMetadataResponse)
        self._infer: Callable[..., ModelInferResponse] = self._method("ModelInfer", ModelInferResponse)

    def close(self) -> None:
        self._channel.close()

    def missing(self) -> str | None:
        """Return why the model can't be used yet, None if it can."""
        request = ModelReadyRequest(name=self._address.model, version=self._address.version)
        try:
            is_ready = self._ready(request, timeout=PROBE_S).ready
        except grpc.RpcError as e:
            return f"waiting for {self._address.target}: {_words(e)}"
        return None if is_ready else f"waiting for {self._address.target}: it has no model {self._address.model} ready"

    def metadata(self) -> ModelMetadataResponse:
        """Return what the model takes and gives. Raises ModelError, Away."""
        request = ModelMetadataRequest(name=self._address.model, version=self._address.version)
        return self._call(self._metadata, request, PROBE_S)

    def infer(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Return the arrays of `outputs`, in this order. Raises ModelError, Away."""
        request = ModelInferRequest(model_name=self._address.model, model_version=self._address.version)
        for name, values in inputs.items():
            request.inputs.add(name=name, datatype=_DATATYPES[values.dtype], shape=values.shape)
            request.raw_input_contents.append(values.tobytes())
        response = self._call(self._infer, request, INFER_S)
        raw = iter(response.raw_output_contents)
        found = {}
        for tensor in response.outputs:
            contents: InferTensorContents = tensor.contents
            data = next(raw, None) if response.raw_output_contents else None
            found[tensor.name] = tensors.array(tensor.shape, tensor.datatype, data, contents)
        if absent := [name for name in outputs if name not in found]:
            raise ModelError(f"{self._address.model} at {self._address.target} gives no output {absent[0]!r}")
        return [found[name] for name in outputs]

    def _call(self, method: Callable[..., R], request: Any, timeout_s: float) -> R:
        until, tries = time.monotonic() + self._away_s, 0
        while True:
            try:
                return method(request, timeout=timeout_s)
            except grpc.RpcError as e:
                words = f"{self._address.model} at {self._address.target}: {_words(e)}"
                if e.code() not in _AWAY:
                    raise ModelError(words) from e
                tries += 1
                delay_s = _DELAYS.after(tries)
                if time.monotonic() + delay_s > until:
                    raise Away(words) from e
                time.sleep(delay_s)

    def _method(self, name: str, kind: Any) -> Any:
        return self._channel.unary_unary(
            _SERVICE + name,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kind.FromString,
        )


def _words(error: grpc.RpcError) -> str:
    return f"{error.code().name.lower()}: {' '.join((error.details() or '').split())[:300]}"
