"""The alerts in the rule file of `deploy/observability`."""

from __future__ import annotations

import yaml

from tests.support.paths import ROOT

RULES = yaml.load((ROOT / "deploy/observability/rules.yaml").read_text(), yaml.CSafeLoader)["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
