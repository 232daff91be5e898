"""`--task language_modeling --arch lightconv_lm` and its sizes (Wu et al., arXiv:1901.10430)."""

from collections.abc import Callable
from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.lightconv_models import LightConvLanguageModelConfig
from fairseq.models.config import fill_defaults, writable
from fairseq.models.fairseq_model import FairseqLanguageModel
from fairseq.models.language_model_settings import longest_input
from fairseq.models.lightconv.decoder import LightConvDecoder
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.models.word_vectors import check_adaptive, word_vectors
from fairseq.quantization.bits import bits_for


@register_model("lightconv_lm", dataclass=LightConvLanguageModelConfig)
class LightConvLanguageModel(FairseqLanguageModel):
    """A decoder of convolutions by itself."""

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "LightConvLanguageModel":
        """A model for `task.source_dictionary` and `task.target_dictionary`."""
        base_lm_architecture(args)
        with writable(args):
            args.max_target_positions = longest_input(args)
        check_adaptive(args)
        embed_tokens = word_vectors(args, task.source_dictionary, args.decoder_input_dim)
        return cls(LightConvDecoder(args, task.target_dictionary, embed_tokens, no_encoder_attn=True, final_norm=False))

    def forward(self, src_tokens: Tensor, num_bits: Optional[int] = None, **kwargs: Any) -> Any:
        """Scores (B, T, V) for the token after each of `src_tokens` (B, T)."""
        return self.decoder(src_tokens, **kwargs, **bits_for(self.decoder, num_bits))


def base_lm_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide."""
    _fill(args, LightConvLanguageModelConfig)


def _fill(args: Any, dataclass: type) -> None:
    fill_defaults(args, dataclass)
    with writable(args):
        args.decoder_normalize_before = True  # whatever is given: these models diverged without


register_sizes("lightconv_lm", _fill)
ARCH_CONFIG_REGISTRY["lightconv_lm"] = base_lm_architecture


def __getattr__(name: str) -> Callable[[Any], None]:
    if name in SIZES["lightconv_lm"]:
        return ARCH_CONFIG_REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
