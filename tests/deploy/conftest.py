"""Assertions of helpers for manifests and clusters show what they compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tests.support.kube.checked_cluster",
    "tests.support.kube.deploy_checks",
    "tests.support.kube.network_policies",
    "tests.support.kube.service_checks",
)
