"""The pixels that a file next to a model asks for, as its exporter wrote it. Raises ModelError if it can't be read."""

from __future__ import annotations

import json
from typing import Any

import yaml

from services.cv.detectors.exports.facts import Facts
from services.cv.detectors.exports.picture import Picture
from shared.runtime.errors import ModelError


def of_transformers(facts: Facts) -> tuple[Picture | None, str]:
    """Return the picture that preprocessor_config.json next to the file asks for, and its source."""
    path = facts.path.with_name("preprocessor_config.json")
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        factor = 1 / float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1.0
        if not found.get("do_normalize", False):
            return Picture(deviation=(factor,) * 3), path.name
        mean, deviation = (tuple(factor * float(v) for v in found[key]) for key in ("image_mean", "image_std"))
        return Picture(mean=mean, deviation=deviation), path.name
    except FileNotFoundError:
        return None, "the family's habit: preprocessor_config.json is not next to it"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as e:
        raise ModelError(f"{path} says nothing about pixels that can be read: {e!r}") from e


def of_paddle(facts: Facts) -> tuple[Picture | None, str]:
    """Return the picture of infer_cfg.yml next to the file, and its source."""
    path = facts.path.with_name("infer_cfg.yml")
    try:
        steps = {step["type"]: step for step in yaml.safe_load(path.read_text())["Preprocess"]}
        if steps["Resize"].get("keep_ratio", False):
            raise ModelError(f"{path} asks for pictures padded at the bottom: export it with keep_ratio: false")
        found = steps.get("NormalizeImage", {"mean": [0, 0, 0], "std": [1, 1, 1], "is_scale": False})
        factor = 255.0 if found.get("is_scale", True) else 1.0
        plain = found.get("norm_type") == "none"
        mean = tuple(0.0 if plain else factor * float(v) for v in found["mean"])
        return Picture(
            mean=mean, deviation=tuple(factor * (1.0 if plain else float(v)) for v in found["std"])
        ), path.name
    except FileNotFoundError:
        return None, "the family's habit: infer_cfg.yml is not next to it"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as e:
        raise ModelError(f"{path} says nothing about pixels that can be read: {e!r}") from e
