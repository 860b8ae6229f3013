"""Assertions of the helper for escape sequences show what they compared."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.support.escapes")
