"""`--arch transformer_align`: a transformer one of whose heads learns word alignments (Garg et al., arXiv:1909.02074).

Train it with `--criterion label_smoothed_cross_entropy_with_alignment --load-alignments`, on data that
`fairseq-preprocess --align-suffix` made.
"""

from collections.abc import Callable
from typing import Any, Optional

from torch import Tensor

from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.transformer_sizes import TransformerAlignConfig
from fairseq.errors import ConfigError
from fairseq.models.config import fill_defaults
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.models.transformer.transformer_legacy import TransformerModel
from fairseq.quantization.bits import bits_for


@register_model("transformer_align", dataclass=TransformerAlignConfig)
class TransformerAlignModel(TransformerModel):
    """A transformer whose `attn` is that of `alignment_heads` heads of `alignment_layer`.

    Args:
        args: settings; `alignment_layer`, `alignment_heads` and `full_context_alignment` say what is aligned by.
    """

    def __init__(self, encoder: Any, decoder: Any, args: Any):
        super().__init__(args, encoder, decoder)
        self.alignment_heads = args.alignment_heads
        self.alignment_layer = args.alignment_layer
        self.full_context_alignment = args.full_context_alignment

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """The transformer's flags, and those of alignment."""
        super(TransformerModel, cls).add_args(parser)

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "TransformerAlignModel":
        """What `args` leaves open is filled in, in place."""
        transformer_align(args)
        layers, heads = args.decoder_layers, args.decoder_attention_heads
        if args.alignment_layer >= layers:
            raise ConfigError(
                f"model.alignment_layer: {args.alignment_layer}, and the decoder has {layers} layers from 0"
            )
        if args.alignment_heads > heads:
            raise ConfigError(f"model.alignment_heads: {args.alignment_heads}, and the decoder has {heads} heads")
        model = TransformerModel.build_model(args, task)
        return cls(model.encoder, model.decoder, args)

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor],
        prev_output_tokens: Tensor,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Scores (B, T, V), and extras whose `attn` is [(B, T, S)] of the heads that are aligned by."""
        encoder_out = self.encoder(src_tokens, src_lengths, **bits_for(self.encoder, num_bits))
        return self.forward_decoder(prev_output_tokens, encoder_out, num_bits=num_bits)

    def forward_decoder(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any = None,
        incremental_state: Optional[Any] = None,
        features_only: bool = False,
        num_bits: Optional[int] = None,
        **extra_args: Any,
    ) -> Any:
        """The decoder's result; with `full_context_alignment` attention is that of a second pass."""
        given = {
            "alignment_layer": self.alignment_layer,
            "alignment_heads": self.alignment_heads,
            **extra_args,
            **bits_for(self.decoder, num_bits),
        }
        result = self.decoder(prev_output_tokens, encoder_out, **given)
        if self.full_context_alignment:
            given["full_context_alignment"] = True
            _, aligned = self.decoder(prev_output_tokens, encoder_out, features_only=True, **given)
            result[1]["attn"] = aligned["attn"]
        return result


def transformer_align(args: Any) -> None:
    """Fill in what `args` leaves open: 6 layers, 512 wide, alignments by a head of layer 4."""
    fill_defaults(args, TransformerAlignConfig)


register_sizes("transformer_align")


def __getattr__(name: str) -> Callable[[Any], None]:
    if name in SIZES["transformer_align"]:
        return ARCH_CONFIG_REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
