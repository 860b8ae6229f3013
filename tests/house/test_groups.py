"""Tests of one `xdist_group` run in one process: pytest and xdist go together."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("groups")
def test_xdist_applies_the_group_of_a_test(request: pytest.FixtureRequest) -> None:
    """Otherwise each process would make what a group shares, and nothing would report it."""
    grouped = getattr(request.config.option, "loadgroup", False)
    assert not grouped or request.node.nodeid.endswith("@groups")
