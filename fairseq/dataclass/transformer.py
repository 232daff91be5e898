"""Config of the encoder-decoder transformer as its parts see it: `encoder`, `decoder` and `quant_noise` sections.

Command lines and checkpoints hold flat names (`encoder_embed_dim`); `from_namespace` sorts them into the sections, and
a flat name can still be read from the result.

>>> config = TransformerConfig.from_namespace({"encoder_embed_dim": 256, "dropout": 0.3})
>>> config.encoder.embed_dim, config.encoder_embed_dim, config.decoder.embed_dim
(256, 256, 512)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, List, Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.constants import ACTIVATION_FN_CHOICES
from fairseq.dataclass.ranges import above, at_least, between

DEFAULT_MAX_SOURCE_POSITIONS = 1024
DEFAULT_MAX_TARGET_POSITIONS = 1024
DEFAULT_MIN_PARAMS_TO_WRAP = int(1e8)


@dataclass
class EncDecBaseConfig(FairseqDataclass):
    """One stack of layers."""

    embed_path: Optional[str] = option(None, "file with pretrained embeddings")
    embed_dim: int = option(512, "width of the residual stream", within=at_least(1))
    ffn_embed_dim: int = option(2048, "width inside the feed-forward blocks", within=at_least(1))
    layers: int = option(6, "layers", within=at_least(0))
    attention_heads: int = option(8, "attention heads per layer; they divide embed_dim", within=at_least(1))
    normalize_before: bool = option(False, "layer norm in front of each block (pre-norm) instead of behind it")
    learned_pos: bool = option(False, "learn position embeddings instead of using sinusoids")
    layerdrop: float = option(0.0, "probability of leaving out a layer while training", within=between(0, 1))
    layers_to_keep: Optional[List[int]] = option(None, "numbers of the layers to keep when loading", within=at_least(0))


@dataclass
class DecoderConfig(EncDecBaseConfig):
    """The decoder's stack; its embeddings and outputs may have widths of their own."""

    input_dim: Optional[int] = option(None, "width of the embeddings (default: embed_dim)", within=at_least(1))
    output_dim: Optional[int] = option(None, "width of the output features (default: embed_dim)", within=at_least(1))

    def __post_init__(self) -> None:
        if self.input_dim is None:
            self.input_dim = self.embed_dim
        if self.output_dim is None:
            self.output_dim = self.embed_dim

    @property
    def input_width(self) -> int:
        return self.embed_dim if self.input_dim is None else self.input_dim

    @property
    def output_width(self) -> int:
        return self.embed_dim if self.output_dim is None else self.output_dim


@dataclass
class QuantNoiseConfig(FairseqDataclass):
    """fairseq's quantization noise."""

    pq: float = option(0.0, "share of weight blocks that product-quantization noise drops", within=between(0, 1))
    pq_block_size: int = option(8, "size of those blocks", within=at_least(1))
    scalar: float = option(0.0, "share of weights that scalar-quantization noise touches", within=between(0, 1))


_SECTIONS = ("encoder", "decoder", "quant_noise")
_NAME_PARSER = f"({'|'.join(_SECTIONS)})_(.+)"  # what flat names of sections look like


@dataclass
class TransformerConfig(FairseqDataclass):
    """Everything that a transformer's encoder, decoder and layers ask for."""

    activation_fn: ACTIVATION_FN_CHOICES = option(ACTIVATION_FN_CHOICES.relu, "activation of the feed-forward blocks")
    dropout: float = option(0.1, "dropout on embeddings and behind each block", within=between(0, 1))
    attention_dropout: float = option(0.0, "dropout on attention probabilities", within=between(0, 1))
    activation_dropout: float = option(
        0.0, "dropout behind the activation of the feed-forward blocks", within=between(0, 1)
    )
    relu_dropout: float = option(0.0, "older name of activation_dropout, used where that is 0", within=between(0, 1))
    adaptive_input: bool = option(False, "adaptive input embeddings")
    encoder: EncDecBaseConfig = field(default_factory=EncDecBaseConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    max_source_positions: int = option(
        DEFAULT_MAX_SOURCE_POSITIONS, "longest source sentence in tokens", within=at_least(1)
    )
    max_target_positions: int = option(
        DEFAULT_MAX_TARGET_POSITIONS, "longest target sentence in tokens", within=at_least(1)
    )
    share_decoder_input_output_embed: bool = option(False, "the decoder's output layer uses its embedding's weights")
    share_all_embeddings: bool = option(
        False, "one embedding for source, target and output (needs a joined dictionary)"
    )
    merge_src_tgt_embed: bool = option(False, "the same as share_all_embeddings")
    no_token_positional_embeddings: bool = option(False, "no position embeddings at all")
    adaptive_softmax_cutoff: Optional[List[int]] = option(
        None, "vocabulary cutoffs of the adaptive softmax", within=at_least(1)
    )
    adaptive_softmax_dropout: float = option(0.0, "dropout in the adaptive softmax's tails", within=between(0, 1))
    adaptive_softmax_factor: float = option(
        4.0, "how much narrower each tail of the adaptive softmax is", within=above(0)
    )
    tie_adaptive_weights: bool = option(False, "the adaptive softmax uses the adaptive input's weights")
    tie_adaptive_proj: bool = option(False, "the adaptive softmax uses the adaptive input's projections")
    layernorm_embedding: bool = option(False, "layer norm on the embeddings")
    no_scale_embedding: bool = option(False, "do not multiply embeddings by sqrt(embed_dim)")
    no_cross_attention: bool = option(False, "decoder layers do not attend to the encoder")
    cross_self_attention: bool = option(False, "decoder layers attend to encoder and decoder states in one step")
    no_decoder_final_norm: bool = option(False, "pre-norm decoder without the layer norm behind the last layer")
    checkpoint_activations: bool = option(False, "recompute activations in backward to save memory")
    offload_activations: bool = option(False, "with checkpoint_activations: keep them in CPU memory")
    min_params_to_wrap: int = option(
        DEFAULT_MIN_PARAMS_TO_WRAP, "fully_sharded: wrap layers with so many parameters", within=at_least(0)
    )
    quant_noise: QuantNoiseConfig = field(default_factory=QuantNoiseConfig)
    export: bool = option(False, "accepted for fairseq's sake; has no effect")

    @property
    def activation_dropout_p(self) -> float:
        """Dropout behind the activation, whichever of its two names was used."""
        return self.activation_dropout or self.relu_dropout

    def __getattr__(self, name: str) -> Any:
        # plugins' layers read the flat names of the command line: encoder_embed_dim is encoder.embed_dim
        for section in _SECTIONS:
            if name.startswith(f"{section}_") and section in self.__dict__:
                return getattr(self.__dict__[section], name[len(section) + 1 :])
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    @classmethod
    def from_namespace(cls, args: Any) -> Any:
        """A config from flat names (namespace, mapping, config node) or from sections; what is not given has its
        default. What is None there is None here, as an architecture's function of a plugin left it.
        """
        if args is None or isinstance(args, cls):
            return args
        given = _as_mapping(args)
        config = cls()
        for declared in fields(config):
            if declared.name in _SECTIONS:
                _set_section(getattr(config, declared.name), declared.name, given)
            elif declared.name in given:
                _assign(config, declared.name, given[declared.name])
        _carry_along(config, given)
        return config


def _set_section(section: Any, name: str, given: Mapping) -> None:
    """Set the fields of a section from flat names, or from a mapping of its own."""
    values = dict(_as_mapping(given.get(name) or {}))
    values.update((key.name, given[f"{name}_{key.name}"]) for key in fields(section) if f"{name}_{key.name}" in given)
    for key in fields(section):
        if key.name in values:
            _assign(section, key.name, values[key.name])
        elif key.name in ("input_dim", "output_dim") and section.embed_dim is not None:
            setattr(section, key.name, section.embed_dim)


def _carry_along(config: TransformerConfig, given: Mapping) -> None:
    """Add the options of a plugin's subclass to `config`, where its constructor reads them."""
    known = {declared.name for declared in fields(config)}
    flat = tuple(f"{section}_" for section in _SECTIONS)
    for name in given:
        if isinstance(name, str) and name not in known and not name.startswith((*flat, "_")):
            config.__dict__[name] = given[name]


def _as_mapping(args: Any) -> Mapping:
    if isinstance(args, Mapping) or hasattr(args, "keys"):
        return args
    if is_dataclass(args):
        return {declared.name: getattr(args, declared.name) for declared in fields(args)}
    return vars(args)


def _assign(config: Any, name: str, value: Any) -> None:
    if name == "_name":
        return
    if name in ("layers_to_keep", "adaptive_softmax_cutoff") and isinstance(value, str):
        value = [int(number) for number in value.split(",") if number]
    setattr(config, name, value)
