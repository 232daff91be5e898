"""RoBERTa's encoder: a transformer over the sentence, and the masked language model's head on top."""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.dataclass.models import RobertaConfig
from fairseq.models.config import fill_defaults, writable
from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.models.roberta.heads import RobertaLMHead
from fairseq.models.transformer.transformer_encoder import TransformerEncoder
from fairseq.modules.bert_init import init_bert_params
from fairseq.quantization.bits import bits_for


class RobertaEncoder(FairseqEncoder):
    """`sentence_encoder` and `lm_head`, initialised as BERT."""

    def __init__(self, args: Any, dictionary: Any):
        super().__init__(dictionary)
        fill_defaults(args, RobertaConfig)
        if args.max_source_positions is None:
            with writable(args):
                args.max_source_positions = args.max_positions
        self.args = args
        embed_tokens = self.build_embedding(len(dictionary), args.encoder_embed_dim, dictionary.pad())
        self.sentence_encoder = self.build_encoder(args, dictionary, embed_tokens)
        self.lm_head = self.build_lm_head(
            embed_dim=args.encoder_embed_dim,
            output_dim=len(dictionary),
            activation_fn=args.lm_head_activation_fn or args.activation_fn,
            weight=None if args.untie_weights_roberta else self.sentence_encoder.embed_tokens.weight,
        )

        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = args.layer_norm_eps

    def build_embedding(self, vocab_size: int, embedding_dim: int, padding_idx: int) -> nn.Embedding:
        return nn.Embedding(vocab_size, embedding_dim, padding_idx)

    def build_encoder(self, args: Any, dictionary: Any, embed_tokens: nn.Embedding) -> TransformerEncoder:
        encoder = TransformerEncoder(args, dictionary, embed_tokens)
        encoder.apply(init_bert_params)
        return encoder

    def build_lm_head(
        self, embed_dim: int, output_dim: int, activation_fn: str, weight: Optional[Tensor]
    ) -> RobertaLMHead:
        return RobertaLMHead(embed_dim, output_dim, activation_fn, weight)

    def forward(
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        masked_tokens: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Features (B, T, C) or scores over the vocabulary of `src_tokens` (B, T).

        Args:
            features_only: leave out the language model's head.
            return_all_hiddens: put the input of the first layer and the output of each into `inner_states`.
            masked_tokens: (B, T), true where scores are needed; scores are (M, V) then, else (B, T, V).
            num_bits: bits of the quantizers that follow.

        Returns:
            Features or scores, and `{"inner_states": [(T, B, C), ...] or None}`.
        """
        bits = bits_for(self, num_bits, "extract_features")
        x, extra = self.extract_features(src_tokens, return_all_hiddens=return_all_hiddens, **bits)
        if not features_only:
            x = self.output_layer(x, masked_tokens=masked_tokens, **bits_for(self, num_bits, "output_layer"))
        return x, extra

    def extract_features(
        self, src_tokens: Tensor, return_all_hiddens: bool = False, num_bits: Optional[int] = None, **kwargs: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        encoder_out = self.sentence_encoder(
            src_tokens,
            return_all_hiddens=return_all_hiddens,
            token_embeddings=kwargs.get("token_embeddings"),
            **bits_for(self.sentence_encoder, num_bits),
        )
        features = encoder_out["encoder_out"][0].transpose(0, 1)  # (T, B, C) -> (B, T, C)
        return features, {"inner_states": encoder_out["encoder_states"] if return_all_hiddens else None}

    def output_layer(
        self,
        features: Tensor,
        masked_tokens: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> Tensor:
        return self.lm_head(features, masked_tokens, **bits_for(self.lm_head, num_bits))

    def max_positions(self) -> int:
        """The longest sentence in tokens."""
        return self.args.max_positions
