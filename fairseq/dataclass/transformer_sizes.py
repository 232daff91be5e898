"""Flat configs of `model=transformer` and its sizes: the keys that command lines and checkpoints hold.

They are TransformerConfig with its sections spelled into the names: `encoder.embed_dim` is `encoder_embed_dim`.

>>> config = TransformerTinyConfig(dropout=0.2)
>>> config.encoder_embed_dim, config.encoder_layers, config.decoder_embed_dim
(64, 2, '${.encoder_embed_dim}')
"""

from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass, make_dataclass
from typing import Any, Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.ranges import at_least
from fairseq.dataclass.transformer import TransformerConfig

# what differs between the flat form and the sections
_DEFAULTS = {
    "decoder_embed_dim": "${.encoder_embed_dim}",
    "decoder_ffn_embed_dim": "${.encoder_ffn_embed_dim}",
    "decoder_input_dim": "${.decoder_embed_dim}",
    "decoder_output_dim": "${.decoder_embed_dim}",
}
_TEXTS = ("encoder_layers_to_keep", "decoder_layers_to_keep", "adaptive_softmax_cutoff")  # lists, written as 0,2,4


def _flat(prefix: str, dataclass: type) -> list[tuple[str, Any, Field]]:
    """Name, type and field of every key."""
    result = []
    for declared in fields(dataclass):
        name = prefix + declared.name
        if declared.name == "_name":
            continue
        if is_dataclass(declared.type):
            result += _flat(f"{name}_", declared.type)  # type: ignore[arg-type]
            continue
        default = None if declared.default is NO_DEFAULT else declared.default
        text = declared.metadata["help"]
        help_text = f"{prefix.rstrip('_')}: {text}" if prefix in ("encoder_", "decoder_") else text
        kind = Optional[str] if name in _TEXTS else declared.type
        result.append((name, kind, _option(declared, _DEFAULTS.get(name, default), help_text)))
    return result


def _option(declared: Field, default: Any, help_text: str) -> Any:
    """A field like `declared` with another default and help text."""
    # a switch whose default is on can still be given on the command line, as fairseq's sizes allow
    const = True if default is True else None
    return option(default, help_text, const=const, within=declared.metadata.get("within"))


def _config(class_name: str, doc: str, bases: tuple[type, ...], keys: list[tuple[str, Any, Field]]) -> Any:
    return make_dataclass(class_name, keys, bases=bases, namespace={"__doc__": doc, "__module__": __name__})


def sized(class_name: str, doc: str, base: Any, **defaults: Any) -> Any:
    """`base` with other defaults."""
    declared = {key.name: key for key in fields(base)}
    keys = [(n, declared[n].type, _option(declared[n], v, declared[n].metadata["help"])) for n, v in defaults.items()]
    return _config(class_name, doc, (base,), keys)


TransformerModelConfig: Any = _config(
    "TransformerModelConfig",
    "`model=transformer` (also `transformer_wmt_en_de`): 6 + 6 layers, 512 wide.",
    (FairseqDataclass,),
    _flat("", TransformerConfig),
)
TransformerTinyConfig = sized(
    "TransformerTinyConfig",
    "`model=transformer_tiny`: 2 + 2 layers, 64 wide.",
    TransformerModelConfig,
    encoder_embed_dim=64,
    encoder_ffn_embed_dim=64,
    encoder_layers=2,
    encoder_attention_heads=2,
    decoder_layers=2,
    decoder_attention_heads=2,
)
TransformerIwsltConfig = sized(
    "TransformerIwsltConfig",
    "`model=transformer_iwslt_de_en`: 4 heads and narrower feed-forward blocks.",
    TransformerModelConfig,
    encoder_ffn_embed_dim=1024,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
)
TransformerBigConfig = sized(
    "TransformerBigConfig",
    "`model=transformer_vaswani_wmt_en_de_big`: 1024 wide, 16 heads, dropout 0.3.",
    TransformerModelConfig,
    encoder_embed_dim=1024,
    encoder_ffn_embed_dim=4096,
    encoder_attention_heads=16,
    decoder_attention_heads=16,
    dropout=0.3,
)
TransformerBigEnFrConfig = sized(
    "TransformerBigEnFrConfig",
    "`model=transformer_vaswani_wmt_en_fr_big`: big, dropout 0.1.",
    TransformerBigConfig,
    dropout=0.1,
)
TransformerBigAttentionDropoutConfig = sized(
    "TransformerBigAttentionDropoutConfig",
    "`model=transformer_wmt_en_de_big`: big, dropout 0.1 on attention.",
    TransformerBigConfig,
    attention_dropout=0.1,
)
TransformerBigPrenormConfig = sized(
    "TransformerBigPrenormConfig",
    "`model=transformer_wmt_en_de_big_t2t`: big, pre-norm, dropout 0.1 on attention and activations.",
    TransformerBigConfig,
    encoder_normalize_before=True,
    decoder_normalize_before=True,
    attention_dropout=0.1,
    activation_dropout=0.1,
)
TransformerAlignConfig = _config(
    "TransformerAlignConfig",
    "`model=transformer_align` (Garg et al., arXiv:1909.02074): 6 + 6 layers, one of whose heads learns alignments.",
    (TransformerModelConfig,),
    [
        ("alignment_heads", int, option(1, "heads that are averaged and learn alignments", within=at_least(1))),
        ("alignment_layer", int, option(4, "decoder layer, from 0, whose heads learn alignments", within=at_least(0))),
        (
            "full_context_alignment",
            bool,
            option(False, "alignments come from a second pass, in which targets see later ones"),
        ),
    ],
)
TransformerBigAlignConfig = sized(
    "TransformerBigAlignConfig",
    "`model=transformer_wmt_en_de_big_align`: 1024 wide, 16 heads, dropout 0.3 and 0.1 on attention.",
    TransformerAlignConfig,
    encoder_embed_dim=1024,
    encoder_ffn_embed_dim=4096,
    encoder_attention_heads=16,
    decoder_embed_dim=1024,
    decoder_ffn_embed_dim=4096,
    decoder_attention_heads=16,
    dropout=0.3,
    attention_dropout=0.1,
)
