"""`--arch transformer_lm` and its sizes: a transformer's decoder by itself, which predicts each next token.

    scores = decoder(tokens),   p(token_t | token_<t) = softmax(scores)_{t-1}

Sizes of GPT-2, GPT-3 and of Baevski and Auli (arXiv:1809.10853) are lines of `fairseq.dataclass.catalog`.

>>> from argparse import Namespace
>>> from fairseq.models.transformer_lm import transformer_lm_gpt2_tiny
>>> args = Namespace(decoder_embed_dim=96)
>>> transformer_lm_gpt2_tiny(args)
>>> args.decoder_layers, args.decoder_embed_dim, args.decoder_output_dim
(2, 96, 96)
"""

from collections.abc import Callable
from typing import Any, Optional

from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.language_models import LMBaseConfig, TransformerLanguageModelConfig
from fairseq.models.config import fill_defaults, has, writable
from fairseq.models.fairseq_model import FairseqLanguageModel
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.models.transformer.transformer_config import DEFAULT_MAX_TARGET_POSITIONS, DEFAULT_MIN_PARAMS_TO_WRAP
from fairseq.models.transformer.transformer_decoder import TransformerDecoder
from fairseq.models.word_vectors import check_adaptive, word_vectors

__all__ = [
    "DEFAULT_MAX_TARGET_POSITIONS",
    "DEFAULT_MIN_PARAMS_TO_WRAP",
    "TransformerLanguageModel",
    "TransformerLanguageModelConfig",
]

_ADDRESS = "https://dl.fbaipublicfiles.com/fairseq/models/lm"


@register_model("transformer_lm", dataclass=TransformerLanguageModelConfig)
class TransformerLanguageModel(FairseqLanguageModel):
    """A transformer that predicts the next token of a text."""

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        found: dict[str, Any] = {
            "transformer_lm.gbw.adaptive_huge": f"{_ADDRESS}/adaptive_lm_gbw_huge.tar.bz2",
            "transformer_lm.wiki103.adaptive": f"{_ADDRESS}/adaptive_lm_wiki103.v2.tar.bz2",
        }
        for name in ("wmt19.en", "wmt19.de", "wmt19.ru"):
            path = f"{_ADDRESS}/{name}.tar.bz2"
            found[f"transformer_lm.{name}"] = {"path": path, "tokenizer": "moses", "bpe": "fastbpe"}
        for name in ("wmt20.en", "wmt20.ta", "wmt20.iu.news", "wmt20.iu.nh"):
            path = f"{_ADDRESS}/{name}.tar.gz"
            found[f"transformer_lm.{name}"] = {"path": path, "tokenizer": "space", "bpe": "sentencepiece"}
        return found

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "TransformerLanguageModel":
        """A model for `task.source_dictionary` and `task.target_dictionary`."""
        if not isinstance(args, TransformerLanguageModelConfig):
            fill_defaults(args, TransformerLanguageModelConfig)  # namespaces of plugins, and of old checkpoints
        with writable(args):
            if args.decoder_layers_to_keep:
                args.decoder_layers = len(args.decoder_layers_to_keep.split(","))
            if not has(args, "max_target_positions") or args.max_target_positions is None:
                tokens = args.tokens_per_sample if has(args, "tokens_per_sample") else DEFAULT_MAX_TARGET_POSITIONS
                args.max_target_positions = tokens
            args.checkpoint_activations = args.checkpoint_activations or args.offload_activations
        check_adaptive(args)
        embed_tokens = cls.build_embedding(args, task.source_dictionary, args.decoder_input_dim)
        return cls(TransformerDecoder(args, task.target_dictionary, embed_tokens, no_encoder_attn=True))

    @classmethod
    def build_embedding(cls, args: Any, dictionary: Any, embed_dim: int, path: Optional[str] = None) -> Any:
        """What turns token ids into vectors: a table, adaptive bands, or convolutions over characters."""
        return word_vectors(args, dictionary, embed_dim)


def base_lm_architecture(args: Any) -> None:
    """Fill in what `args` leaves open, as the named sizes do: 6 layers, 512 wide, pre-norm."""
    _fill(args, LMBaseConfig)


def _fill(args: Any, dataclass: type) -> None:
    """Fill in a named size, and what flags of 2018 stand for."""
    with writable(args):
        if has(args, "no_tie_adaptive_proj"):  # models from before the final layer norm
            args.no_decoder_final_norm = True
            if args.no_tie_adaptive_proj is False:
                args.tie_adaptive_proj = True
        if has(args, "decoder_final_norm"):
            args.no_decoder_final_norm = not args.decoder_final_norm
    fill_defaults(args, dataclass)
    with writable(args):
        args.checkpoint_activations = args.checkpoint_activations or args.offload_activations
        if not has(args, "add_bos_token"):
            args.add_bos_token = False


register_sizes("transformer_lm", _fill)


def __getattr__(name: str) -> Callable[[Any], None]:
    # fairseq's plugins import the function of a size by its name from here
    size = "transformer_lm_gpt3_small" if name == "base_gpt3_architecture" else name
    if size in SIZES["transformer_lm"]:
        return ARCH_CONFIG_REGISTRY[size]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
