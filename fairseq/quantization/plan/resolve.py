"""From a config to the settings of every quantizer that a model can have."""

from dataclasses import replace

from fairseq.quantization.cpt_specs import reference_spec
from fairseq.quantization.plan.rules import resolve
from fairseq.quantization.plan.settings import QuantizationConfig
from fairseq.quantization.plan.targets import Site
from fairseq.quantization.spec import QuantizerSpec


def plan_specs(sites: list[Site], config: QuantizationConfig) -> dict[str, QuantizerSpec]:
    """Settings of every quantizer that the sites can have, active or not."""
    roles: dict[str, str] = {}
    start: dict[str, QuantizerSpec] = {}
    for site in sites:
        for path, role in site.roles.items():
            roles[path] = role
            start[path] = replace(
                reference_spec(role, config.num_grad_bits), compute=config.compute, quantize=site.converts_by_default
            )
    others = {site.path: site.kind for site in sites if not site.points}
    return resolve(config.rules, roles, start, others)
