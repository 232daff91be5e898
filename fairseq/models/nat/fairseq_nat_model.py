"""Base of models that write whole sentences at once and refine them, with their encoder and decoder.

A model is trained by `forward(src_tokens, src_lengths, prev_output_tokens, tgt_tokens)`, which returns what each part
predicts and what it should:

    {"word_ins": {"out": (B, T, V), "tgt": (B, T), "mask": (B, T), "ls": 0.1, "nll_loss": True}, ...}

and generates by `forward_encoder`, `initialize_output_tokens` and repeated `forward_decoder`
(`fairseq.iterative_refinement_generator`). Positions of the decoder see each other in both directions.
"""

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.models.nat.ensembles import ensemble_decoder, ensemble_encoder
from fairseq.models.transformer.transformer_decoder import TransformerDecoder, _memory
from fairseq.models.transformer.transformer_encoder import TransformerEncoder
from fairseq.models.transformer.transformer_legacy import TransformerModel
from fairseq.modules.attention.masks import applied
from fairseq.modules.bert_init import init_bert_params
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear

__all__ = ["FairseqNATDecoder", "FairseqNATEncoder", "FairseqNATModel", "ensemble_decoder", "ensemble_encoder"]


class FairseqNATModel(TransformerModel):
    """A transformer that refines whole sentences."""

    encoder: Any
    decoder: Any

    def __init__(self, args: Any, encoder: Any, decoder: Any):
        super().__init__(args, encoder, decoder)
        self.tgt_dict = decoder.dictionary
        self.bos, self.eos = self.tgt_dict.bos(), self.tgt_dict.eos()
        self.pad, self.unk = self.tgt_dict.pad(), self.tgt_dict.unk()
        self.ensemble_models: Optional[list[Any]] = None

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """The transformer's flags, and the model's own."""
        super(TransformerModel, cls).add_args(parser)

    @classmethod
    def build_model(cls, args: Any, task: Any) -> Any:
        """A model for a task that makes noise.

        Raises:
            ConfigError: another kind of task.
        """
        if hasattr(task, "load_dataset") and not hasattr(task, "inject_noise"):
            raise ConfigError(
                f"{cls.__name__} learns from targets with noise: use --task translation_lev --criterion nat_loss"
            )
        return super().build_model(args, task)

    @property
    def allow_length_beam(self) -> bool:
        """Whether several lengths of a sentence can be tried."""
        return False

    @property
    def allow_ensemble(self) -> bool:
        """Whether the predictions of several models can be averaged."""
        return True

    def enable_ensemble(self, models: list[Any]) -> None:
        """Predict as the mean of `models`, of which this is the first."""
        self.encoder.ensemble_models = [model.encoder for model in models]
        self.decoder.ensemble_models = [model.decoder for model in models]

    @classmethod
    def build_encoder(cls, args: Any, src_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return _initialized(args, FairseqNATEncoder(args, src_dict, embed_tokens))

    @classmethod
    def build_decoder(cls, args: Any, tgt_dict: Any, embed_tokens: nn.Embedding) -> Any:
        return _initialized(args, FairseqNATDecoder(args, tgt_dict, embed_tokens))

    def forward_encoder(self, encoder_inputs: Any) -> Any:
        """The encoder's output for `[src_tokens, src_lengths]`."""
        return self.encoder(*encoder_inputs)

    def forward_decoder(self, decoder_out: Any, encoder_out: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """`decoder_out`, refined once."""
        raise NotImplementedError(f"{type(self).__name__}.forward_decoder")

    def initialize_output_tokens(self, encoder_out: Any, src_tokens: Tensor) -> Any:
        """The `DecoderOut` that refinement starts from."""
        raise NotImplementedError(f"{type(self).__name__}.initialize_output_tokens")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.forward")


def _initialized(args: Any, part: nn.Module) -> nn.Module:
    if getattr(args, "apply_bert_init", False):
        part.apply(init_bert_params)
    return part


class FairseqNATEncoder(TransformerEncoder):
    """The transformer's encoder; with `ensemble_models`, those of several models."""

    def __init__(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding):
        super().__init__(args, dictionary, embed_tokens)
        self.ensemble_models: Optional[list[Any]] = None

    @ensemble_encoder
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().forward(*args, **kwargs)


class FairseqNATDecoder(TransformerDecoder):
    """The transformer's decoder with all positions in sight of each other."""

    def __init__(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding, no_encoder_attn: bool = False):
        super().__init__(args, dictionary, embed_tokens, no_encoder_attn)
        self.ensemble_models: Optional[list[Any]] = None
        self.bos, self.unk, self.eos = dictionary.bos(), dictionary.unk(), dictionary.eos()

    def run_layers(
        self,
        x: Tensor,
        padding_mask: Tensor,
        encoder_out: Any,
        layers: Optional[Any] = None,
        early_exit: Optional[int] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Features (B, T, C) and extras for embedded tokens `x` (B, T, C).

        Args:
            padding_mask: (B, T), true at padding.
            layers: in place of the decoder's own.
            early_exit: run this many of them.
        """
        x = x.transpose(0, 1)  # (B, T, C) -> (T, B, C)
        memory, memory_mask = _memory(encoder_out)
        layers, attn, inner_states = self.layers if layers is None else layers, None, [x]
        for layer in list(layers)[:early_exit]:
            x, attn, _ = self._run_layer(
                layer,
                x,
                memory,
                memory_mask,
                self_attn_mask=None,
                self_attn_padding_mask=applied(padding_mask),
                **bits_for(layer, num_bits),
            )
            inner_states.append(x)
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        x = x.transpose(0, 1)  # (T, B, C) -> (B, T, C)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x)
        return x, {"attn": attn, "inner_states": inner_states}

    def scores(
        self, features: Tensor, normalize: bool, head: Optional[Any] = None, num_bits: Optional[int] = None
    ) -> Tensor:
        """Logits, or log probabilities, of `head` (default: the output layer)."""
        head = self.output_layer if head is None else head
        owner, method = (self, "output_layer") if head == self.output_layer else (head, "forward")
        out = head(features, **bits_for(owner, num_bits, method))
        return F.log_softmax(out, -1) if normalize else out


def classifier(num_classes: int, width: int) -> QLinear:
    """A layer without bias from features to classes, in full precision unless a rule names it. It starts at zero, after
    as many random draws as fairseq takes for it.
    """
    table = nn.Embedding(num_classes, width)
    nn.init.normal_(table.weight)
    nn.init.zeros_(table.weight)
    with torch.device("meta"):  # draws nothing
        layer = QLinear(width, num_classes, bias=False, quantized=False)
    layer.weight = table.weight
    return layer
