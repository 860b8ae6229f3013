"""Generated messages are those of their proto."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.support.paths import ROOT

pytestmark = pytest.mark.xdist_group("house")


@pytest.mark.parametrize(
    "proto", ["services/scaler/externalscaler.proto", "services/cv/detectors/kserve/inference.proto"]
)
def test_the_committed_code_matches_the_proto(proto: str, tmp_path: Path) -> None:
    """Compare the descriptor, not the text: other releases of protoc write another text."""
    out, path = tmp_path / "descriptors", ROOT / proto
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{path.parent}"]
    subprocess.run([*protoc, f"--descriptor_set_out={out}", path.name], check=True)
    [fresh] = FileDescriptorSet.FromString(out.read_bytes()).file
    committed = FileDescriptorProto()
    module = import_module(proto.removesuffix(".proto").replace("/", ".") + "_pb2")
    module.DESCRIPTOR.CopyToProto(committed)
    for message in (fresh, committed):
        for field in (f for m in message.message_type for n in (m, *m.nested_type) for f in n.field):
            field.ClearField("json_name")
    assert fresh == committed
