"""What turns token ids into vectors in language models: a table, adaptive bands, or convolutions over characters.

`args` has the settings of `TransformerLanguageModelConfig` that say so.
"""

import ast
from typing import Any, Optional

from fairseq.dataclass.utils import eval_str_list
from fairseq.errors import ConfigError
from fairseq.models.language_model_settings import given
from fairseq.models.transformer.embedding import Embedding
from fairseq.modules.adaptive_input import AdaptiveInput
from fairseq.modules.character_token_embedder import CharacterTokenEmbedder


def word_vectors(args: Any, dictionary: Any, embed_dim: int) -> Any:
    """The embedding that `args` chooses; `embed_dim` is the width of a table's."""
    if args.character_embeddings:
        return CharacterTokenEmbedder(
            dictionary,
            _filters(args.character_filters),
            args.character_embedding_dim,
            args.decoder_embed_dim,
            args.char_embedder_highway_layers,
        )
    if args.adaptive_input:
        return AdaptiveInput(
            len(dictionary),
            dictionary.pad(),
            args.decoder_input_dim,
            args.adaptive_input_factor,
            args.decoder_embed_dim,
            _cutoff(args.adaptive_input_cutoff, "adaptive_input", "adaptive_input_cutoff"),
            given(args, "quant_noise_pq") or 0.0,
            given(args, "quant_noise_pq_block_size") or 8,
        )
    return Embedding(len(dictionary), embed_dim, dictionary.pad())


def check_adaptive(args: Any) -> None:
    """Raise ConfigError for settings that contradict each other."""
    if args.tie_adaptive_weights:
        if not args.adaptive_input or args.adaptive_softmax_cutoff is None:
            raise ConfigError("model.tie_adaptive_weights needs adaptive_input and adaptive_softmax_cutoff")
        for one, other in (
            ("adaptive_input_factor", "adaptive_softmax_factor"),
            ("adaptive_input_cutoff", "adaptive_softmax_cutoff"),
            ("decoder_input_dim", "decoder_output_dim"),
        ):
            if getattr(args, one) != getattr(args, other):
                raise ConfigError(
                    f"model.tie_adaptive_weights needs {one} and {other} to be equal; they are "
                    f"{getattr(args, one)} and {getattr(args, other)}"
                )
    if args.share_decoder_input_output_embed and (args.adaptive_input or args.character_embeddings):
        raise ConfigError(
            "model.share_decoder_input_output_embed needs one table of embeddings; with adaptive_input, "
            "tie_adaptive_weights shares them"
        )


def _cutoff(text: Optional[str], option: str, key: str) -> list[int]:
    if not text:
        raise ConfigError(f"model.{option} needs {key}: where its bands end, as 20000,60000")
    return eval_str_list(text, int) or []


def _filters(text: Any) -> list[tuple[int, int]]:
    try:
        pairs = ast.literal_eval(text) if isinstance(text, str) else text
        return [(int(width), int(number)) for width, number in pairs]
    except (ValueError, SyntaxError, TypeError):
        raise ConfigError(
            f"model.character_filters: {text!r} is not a list of (width, number), as [(1, 64), (2, 128)]"
        ) from None
