"""Recipes: published ways of training at few bits, each a YAML file of `recipes/` that names formats, estimators and
transforms.

    source: one line
    num_bits: 4
    num_grad_bits: 0                                what no recipe says has its default: constant bits
    rules:
      - {match: weight, format: midrise, transform: 'hadamard:128', ste: trust}

`match` is `weight`, `input` or `grad_output` of any layer, or a regular expression for paths. What no rule of
the file matches stays in full precision: a recipe says all that it quantizes. Heads and embeddings stay in full
precision unless a rule of the user or `quantization.pattern` says otherwise.

>>> "quest_w4a4" in recipe_names(), read_recipe("quest_w4a4").num_bits
(True, 4)
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from fairseq.errors import ConfigError
from fairseq.quantization.plan.rules import Rule, read_rules
from fairseq.quantization.plan.settings import QuantizationConfig, ScheduleConfig

FOLDER = Path(__file__).parent / "recipes"
KEYS = ("source", "num_bits", "num_grad_bits", "rules")
ANY_LINEAR = {name: rf"re:(.*\.)?{name}" for name in ("weight", "input", "grad_output")}


@lru_cache(maxsize=1)
def recipe_names() -> tuple[str, ...]:
    """The names of all recipes."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def _none_of(patterns: list[str]) -> str:
    """A pattern for the paths that none of `patterns` matches, each a regular expression behind `re:`.

    >>> _none_of(["re:a", "re:b"])
    're:(?!(?:a|b)$).*'
    """
    return f"re:(?!(?:{'|'.join(pattern.removeprefix('re:') for pattern in patterns)})$).*"


@lru_cache(maxsize=64)
def read_recipe(name: str) -> QuantizationConfig:
    """The recipe `name`, as settings of a preset; ConfigError for a file that is none."""
    import yaml

    path = FOLDER / f"{name}.yaml"
    text: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(text, Mapping) or set(text) - set(KEYS) or "rules" not in text:
        raise ConfigError(f"{path}: a recipe has rules, and of {', '.join(KEYS)} what else it needs")
    rules = read_rules(
        [{"optional": True, **rule, "match": ANY_LINEAR.get(rule["match"], rule["match"])} for rule in text["rules"]]
    )
    rules.insert(0, Rule(_none_of([rule.match for rule in rules]), quantize=False, optional=True))
    return QuantizationConfig(
        num_bits=text.get("num_bits", 8),
        num_grad_bits=text.get("num_grad_bits", 0),
        schedule=ScheduleConfig(name="constant"),
        rules=tuple(rules),
    )
