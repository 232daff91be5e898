"""`--arch multilingual_transformer`: a transformer for each pair of languages, which may share parts.

    model.models["de-en"](src_tokens, src_lengths, prev_output_tokens)

Pairs with the same source language share its encoder, pairs with the same target language its decoder; with
`share_encoders` and `share_decoders` all of them do.
"""

from typing import Any, Optional

from torch import nn

from fairseq.dataclass.flags import gen_parser_from_dataclass
from fairseq.dataclass.multilingual_models import MultilingualTransformerConfig
from fairseq.errors import CheckpointError, ConfigError
from fairseq.models.config import fill_defaults
from fairseq.models.fairseq_multi_model import FairseqMultiModel
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.models.transformer.embedding import Embedding, read_embeddings
from fairseq.models.transformer.transformer_config import DEFAULT_MAX_SOURCE_POSITIONS, DEFAULT_MAX_TARGET_POSITIONS
from fairseq.models.transformer.transformer_decoder import TransformerDecoder
from fairseq.models.transformer.transformer_encoder import TransformerEncoder

__all__ = ["DEFAULT_MAX_SOURCE_POSITIONS", "DEFAULT_MAX_TARGET_POSITIONS", "MultilingualTransformerModel"]


@register_model("multilingual_transformer", dataclass=MultilingualTransformerConfig)
class MultilingualTransformerModel(FairseqMultiModel):
    """Transformers by pair of languages; see the head of this file."""

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """The model's flags, for subclasses without a config dataclass too."""
        gen_parser_from_dataclass(parser, MultilingualTransformerConfig(), delete_default=True)

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "MultilingualTransformerModel":
        """Models for `task.model_lang_pairs`, with the dictionaries `task.dicts` by language.

        Raises:
            ConfigError: what shall be shared cannot be.
        """
        base_multilingual_architecture(args)
        pairs = [pair.split("-") for pair in task.model_lang_pairs]
        sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
        tables = _tables(args, task.dicts, sources, targets)
        encoders: dict[str, nn.Module] = {}
        decoders: dict[str, nn.Module] = {}
        for source, target in pairs:
            if source not in encoders:
                known = encoders.get(sources[0]) if args.share_encoders else None
                encoders[source] = (
                    known
                    if known is not None
                    else TransformerEncoder(args, task.dicts[source], tables["encoder", source])
                )
            if target not in decoders:
                known = decoders.get(targets[0]) if args.share_decoders else None
                decoders[target] = (
                    known
                    if known is not None
                    else TransformerDecoder(
                        args, task.dicts[target], tables["decoder", target], no_encoder_attn=args.no_cross_attention
                    )
                )
        names = task.model_lang_pairs
        model = cls(
            {name: encoders[source] for name, source in zip(names, sources, strict=True)},  # type: ignore[misc]
            {name: decoders[target] for name, target in zip(names, targets, strict=True)},  # type: ignore[misc]
        )
        model.keys.sort(key=lambda name: name not in task.lang_pairs)  # the pair to translate is the model's encoder
        return model

    def load_state_dict(  # type: ignore[override]
        self, state_dict: dict[str, Any], strict: bool = True, model_cfg: Optional[Any] = None, args: Any = None
    ) -> Any:
        """Load the weights of this model's pairs; those of other pairs, in a checkpoint of more, are left out.

        Raises:
            CheckpointError: the checkpoint has no model for a pair.
        """
        theirs = {key.split(".")[1] for key in state_dict if key.startswith("models.")}
        for pair in self.keys:
            if pair not in theirs:
                raise CheckpointError(f"the checkpoint has no model for {pair}, but for {', '.join(sorted(theirs))}")
        own = {key: value for key, value in state_dict.items() if key.split(".")[1] in self.keys}
        return super().load_state_dict(own, strict, model_cfg, args)


def _tables(args: Any, dicts: Any, sources: list[str], targets: list[str]) -> dict[tuple[str, str], nn.Embedding]:
    """(side, language) -> embedding; the same one where it is shared."""
    if args.share_all_embeddings:
        _check_sharing(args)
        _check_joined(dicts, sources + targets, "share_all_embeddings")
        table = _table(dicts[sources[0]], args.encoder_embed_dim, args.encoder_embed_path)
        args.share_decoder_input_output_embed = True
        return {(side, language): table for side in ("encoder", "decoder") for language in sources + targets}
    found: dict[tuple[str, str], nn.Embedding] = {}
    sides = (
        ("encoder", sources, args.share_encoder_embeddings, args.share_encoders),
        ("decoder", targets, args.share_decoder_embeddings, args.share_decoders),
    )
    for side, languages, embeddings_shared, all_shared in sides:
        width, path = getattr(args, f"{side}_embed_dim"), getattr(args, f"{side}_embed_path")
        if embeddings_shared or all_shared:  # an encoder for all languages has one embedding, too
            _check_joined(dicts, languages, f"share_{side}_embeddings" if embeddings_shared else f"share_{side}s")
            table = _table(dicts[languages[0]], width, path)
            found.update({(side, language): table for language in languages})
        else:
            found.update({(side, each): _table(dicts[each], width, path) for each in dict.fromkeys(languages)})
    return found


def _table(dictionary: Any, width: int, path: Optional[str]) -> nn.Embedding:
    table = Embedding(len(dictionary), width, dictionary.pad())
    if path:
        read_embeddings(path, dictionary, table)
    return table


def _check_joined(dicts: Any, languages: list[str], option: str) -> None:
    for language in languages[1:]:
        if dicts[language] != dicts[languages[0]]:
            raise ConfigError(
                f"model.{option} needs a joined dictionary: those of {languages[0]} and {language} differ"
            )


def _check_sharing(args: Any) -> None:
    if args.encoder_embed_dim != args.decoder_embed_dim:
        raise ConfigError(
            f"model.share_all_embeddings needs equal widths: encoder_embed_dim is {args.encoder_embed_dim}, "
            f"decoder_embed_dim {args.decoder_embed_dim}"
        )
    if args.decoder_embed_path and args.decoder_embed_path != args.encoder_embed_path:
        raise ConfigError("model.share_all_embeddings cannot be used with a decoder_embed_path of its own")


def base_multilingual_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide, nothing shared."""
    fill_defaults(args, MultilingualTransformerConfig)


register_sizes("multilingual_transformer")


def __getattr__(name: str) -> Any:
    if name == "multilingual_transformer_iwslt_de_en":  # fairseq's function of a size
        return ARCH_CONFIG_REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
