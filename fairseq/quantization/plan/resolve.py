"""From a config to the settings of every quantizer that a model can have."""

import logging
import re
from collections.abc import Iterable
from dataclasses import replace

from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.formats import build_format
from fairseq.quantization.observers import OBSERVERS
from fairseq.quantization.plan.config import base_rules
from fairseq.quantization.plan.patterns import HEADS, check_pattern, last_layer
from fairseq.quantization.plan.presets import PRESETS
from fairseq.quantization.plan.rules import Rule, resolve
from fairseq.quantization.plan.settings import QuantizationConfig
from fairseq.quantization.plan.targets import QuantizationTarget
from fairseq.quantization.rounding.straight_through import canonical_backward
from fairseq.quantization.spec import BIAS, CACHE, QuantizerSpec

logger = logging.getLogger(__name__)


def plan_specs(targets: list[QuantizationTarget], config: QuantizationConfig) -> dict[str, QuantizerSpec]:
    """Settings of every quantizer that the targets can have, active or not."""
    roles: dict[str, str] = {}
    start: dict[str, QuantizerSpec] = {}
    on_request = frozenset[str]().union(*(target.on_request for target in targets))
    for target in targets:
        for path, role in target.roles.items():
            roles[path] = role
            spec = reference_spec(role, config.num_grad_bits)
            if path in on_request:  # which takes part in no product
                start[path] = replace(spec, quantize=False)
            else:
                start[path] = replace(spec, compute=config.compute, quantize=target.converts_by_default)
    others = {target.path: target.kind for target in targets if not target.quantizers}
    rules = list(config.rules)
    if config.pattern is not None:
        check_pattern(config.pattern, [path for path in roles if path not in on_request])
    if config.keep_last or (config.keep_last is None and config.pattern in HEADS):
        last = last_layer([target.path for target in targets if target.converts_by_default and target.quantizers])
        if last is not None:  # in front of the rules of the user, which win
            place = len(base_rules(config.pattern, PRESETS[config.preset])) if config.preset in PRESETS else 0
            rules.insert(place, Rule(f"re:{re.escape(last)}\\..*", quantize=False, optional=True))
    specs = resolve(rules, roles, start, others, on_request)
    return {path: _canonical(spec, path, roles[path]) for path, spec in specs.items()}


def _canonical(spec: QuantizerSpec, path: str, role: str) -> QuantizerSpec:
    """`spec` without aliases: equal settings print alike and compare equal."""
    source = spec.range
    if isinstance(source, str):
        source = OBSERVERS.canonical(source)
    elif "name" in source:
        source = {**source, "name": OBSERVERS.canonical(source["name"])}
    number_format = build_format(spec.format, path)
    spec = replace(spec, format=number_format.spec(), range=source, ste=canonical_backward(spec.ste))
    if role == CACHE:
        spec = spec.of_cache(path)
    if role == BIAS:
        spec = spec.of_vector()
    return spec if number_format.block is None else spec.in_blocks(number_format.block, path)


def tell_of_new_meanings(rules: Iterable[Rule]) -> None:
    """Log what `affine` means, if a rule says it: it once meant another format."""
    named = [rule.match for rule in rules if rule.format in ("affine", {"format": "affine"})]
    if named:
        logger.warning(
            f"quantization rule {named[0]!r}: the format affine has an integer zero point (its other name, affine_int, "
            "says so); the one with a real zero point, which was called affine before, is affine_float_zp"
        )
