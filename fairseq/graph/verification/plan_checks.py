"""The plan of a model against the quantizers that it has: switched on, at the bits and in the format of the plan, and
every rule in force somewhere.
"""

from collections.abc import Iterator, Mapping
from typing import Optional

from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization.formats import build_format, format_text
from fairseq.quantization.plan.config import base_rules
from fairseq.quantization.plan.presets import PRESETS
from fairseq.quantization.plan.rules import Rule
from fairseq.quantization.plan.table import PlanRow
from fairseq.quantization.quantized_model import Quantization
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import FOLLOW, GRADIENT


def live_quantizers(model: nn.Module) -> dict[str, Quantizer]:
    """The model's quantizers, by path."""
    return {module.path: module for module in model.modules() if isinstance(module, Quantizer)}


def plan_failures(quantization: Quantization, model: nn.Module, num_bits: Optional[int]) -> list[str]:
    """What is wrong, a line each; `num_bits`: of quantizers whose bits follow."""
    live = live_quantizers(model)
    found = [line for row in quantization.plan.active for line in _row(row, live.get(row.quantizer), num_bits)]
    return [*found, *rule_failures(quantization, live)]


def _row(row: PlanRow, quantizer: Optional[Quantizer], num_bits: Optional[int]) -> Iterator[str]:
    path = row.quantizer
    if quantizer is None:
        yield f"{path} is planned, and the model has no such quantizer: its layer has been replaced"
        return
    wanted, name = build_format(row.spec.format), format_text(row.spec.format)
    if quantizer.format != wanted:
        yield f"{path}: the plan has the format {name}, and the quantizer rounds to {quantizer.format}"
    bits = row.spec.bits if row.spec.bits != FOLLOW else num_bits
    try:
        in_force = quantizer.bits(num_bits)
    except ConfigError as error:
        yield str(error)
        return
    if in_force is None:
        yield f"{path} is switched off: the plan has {bits} bits there"
    elif in_force != bits:
        yield f"{path}: the plan has {bits} bits, and the quantizer rounds to {in_force}"


def rule_failures(quantization: Quantization, live: Mapping[str, Quantizer]) -> list[str]:
    """Rules of the user that decide nothing in the model as it is."""
    config = quantization.config
    preset = base_rules(config.pattern, PRESETS[config.preset])
    own = config.rules[len(preset) :] if tuple(config.rules[: len(preset)]) == preset else config.rules
    active = {row.quantizer for row in quantization.plan.active}
    found = []
    for rule in own:
        if rule.optional or _only_switches_off(rule):
            continue
        matches = rule.matcher()
        matched = [quantizer for path, quantizer in live.items() if path in active and matches(path)]
        if not matched:
            found.append(f"rule {rule.match!r} pins no node: no quantizer of the model that is switched on matches it")
        elif not any(_in_force(rule, quantizer) for quantizer in matched):
            found.append(
                f"rule {rule.match!r} pins no node: {matched[0].path} and all others that it matches have other bits "
                "than it says"
            )
    return found


def _only_switches_off(rule: Rule) -> bool:
    return rule.quantize is False or (rule.bits == 0 and not rule.grad_bits) or (rule.grad_bits == 0 and not rule.bits)


def _in_force(rule: Rule, quantizer: Quantizer) -> bool:
    bits = rule.grad_bits if quantizer.role == GRADIENT else rule.bits
    if bits is None:  # it says something else than bits, or bits of others
        return rule.bits is None and rule.grad_bits is None
    return quantizer.spec.quantize and quantizer.spec.bits == bits
