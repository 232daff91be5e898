"""Keys and values that attention keeps between decoding steps.

>>> target = KeyValueCacheTarget("self_attn.cache", KeyValueCache())
>>> list(target.roles.items()), target.on_request == set(target.roles)
([('self_attn.cache', 'cache')], True)
"""

from typing import Optional

from torch import nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.key_value_cache import CacheQuantizers, KeyValueCache
from fairseq.quantization.plan.target import QuantizationTarget, Specs, register_target
from fairseq.quantization.spec import CACHE


@register_target(KeyValueCache)
class KeyValueCacheTarget(QuantizationTarget):
    """A `KeyValueCache`, which is rounded where a rule says so."""

    module: KeyValueCache
    converts_by_default = False
    multiplies = False
    supports = "keys and values that decoders keep (where a rule says so)"

    def __init__(self, path: str, module: KeyValueCache):
        super().__init__(path, module)
        self.quantizers = {"cache": (path, CACHE)}

    @property
    def on_request(self) -> frozenset[str]:
        return frozenset(self.roles)

    def product(self, key: str) -> Optional[str]:
        return None

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        self.module.quantizers = CacheQuantizers(self.path, specs[self.path], context)
        return self.module
