"""An inference server that speaks the Open Inference Protocol by gRPC, with one model of OpenVINO behind it.

with InferenceServer(Path("model.xml"), "detector") as server:
    load(f"triton://{server.target}/detector")
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import openvino as ov

from services.cv.detectors.kserve import inference_pb2 as pb
from services.cv.detectors.kserve.tensors import TYPES

_DATATYPES = {"f32": "FP32", "f16": "FP16", "u8": "UINT8", "i64": "INT64", "i32": "INT32"}


class InferenceServer:
    """See the module. batches: whether it takes batches. mixes: whether it confuses their images.

    raw: whether answers are bytes. ready: whether the model is.

    shapes: of the inputs of each call. properties: of the model's metadata.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        batches: bool = True,
        mixes: bool = False,
        raw: bool = True,
        properties: dict[str, str] | None = None,
    ) -> None:
        core = ov.Core()
        self._model = core.read_model(path)
        self._compiled = core.compile_model(self._model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._name, self._batches, self._mixes = name, batches, mixes
        self._raw, self._properties = raw, properties or {}
        self.ready = True
        self.shapes: list[dict[str, tuple[int, ...]]] = []
        self.port = 0
        self._server: Any = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, again at the same port if it was stopped."""
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
        methods = {
            "ModelReady": (self._is_ready, pb.ModelReadyRequest),
            "ModelMetadata": (self._metadata, pb.ModelMetadataRequest),
            "ModelInfer": (self._infer, pb.ModelInferRequest),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                function, kind.FromString, lambda message: message.SerializeToString()
            )
            for name, (function, kind) in methods.items()
        }
        generic = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        self._server.add_generic_rpc_handlers((generic,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def __enter__(self) -> InferenceServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_ready(self, request: pb.ModelReadyRequest, _: Any) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self.ready and request.name == self._name)

    def _metadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        if request.name != self._name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        found = pb.ModelMetadataResponse(name=self._name, properties=self._properties)
        for ports, tensors in ((self._model.inputs, found.inputs), (self._model.outputs, found.outputs)):
            for port in ports:
                shape = [d.get_length() if d.is_static else -1 for d in port.partial_shape]
                datatype = _DATATYPES[port.element_type.get_type_name()]
                tensors.add(
                    name=port.get_any_name(), datatype=datatype, shape=[-1, *shape[1:]] if self._batches else shape
                )
        return found

    def _infer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        arrays = {
            tensor.name: np.frombuffer(raw, TYPES[tensor.datatype]).reshape(tuple(tensor.shape))
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        self.shapes.append({name: array.shape for name, array in arrays.items()})
        count = max(array.shape[0] for array in arrays.values())
        if count > 1 and not self._batches:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input")
        single = [self._compiled({name: array[n : n + 1] for name, array in arrays.items()}) for n in range(count)]
        if self._mixes:
            single.reverse()
        found = pb.ModelInferResponse(model_name=self._name)
        for n, port in enumerate(self._model.outputs):
            values = np.concatenate([result[n] for result in single])
            datatype = _DATATYPES[port.element_type.get_type_name()]
            tensor = found.outputs.add(name=port.get_any_name(), datatype=datatype, shape=values.shape)
            if self._raw:
                found.raw_output_contents.append(values.tobytes())
            elif datatype == "FP32":
                tensor.contents.fp32_contents.extend(values.ravel())
            else:
                tensor.contents.int64_contents.extend(values.ravel().astype(np.int64))
        return found
