"""BART (Lewis et al., arXiv:1910.13461): an encoder-decoder that is pre-trained to restore noisy text; mBART (Liu et
al., arXiv:2001.08210) is the same in several languages.

    model = BARTModel.build_model(cfg, task)
    scores, _ = model(src_tokens, src_lengths, prev_output_tokens)
    model.register_classification_head("mnli", num_classes=3)
    logits, _ = model(src_tokens, src_lengths, prev_output_tokens, classification_head_name="mnli")

Configs are those of `fairseq.dataclass.bart`; a namespace from an old checkpoint does as well.
"""

import logging
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.dataclass.bart import BartLargeConfig
from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.flags import gen_parser_from_dataclass
from fairseq.errors import ConfigError, unknown
from fairseq.models.bart.heads import BARTClassificationHead, last_eos_features
from fairseq.models.bart.hub_interface import BARTHubInterface
from fairseq.models.config import fill_defaults
from fairseq.models.fairseq_model import BaseFairseqModel
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_model, register_sizes
from fairseq.models.roberta import upgrade
from fairseq.models.transformer.transformer_legacy import TransformerModel
from fairseq.modules.bert_init import init_bert_params
from fairseq.quantization.bits import bits_for

__all__ = ["BARTClassificationHead", "BARTModel"]

logger = logging.getLogger(__name__)

_TABLES = ("encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection")


@register_model("bart", dataclass=BartLargeConfig)
class BARTModel(TransformerModel):
    """A transformer with any number of named classification heads, initialised as BERT."""

    def __init__(self, args: Any, encoder: Any, decoder: Any):
        super().__init__(args, encoder, decoder)
        self.apply(init_bert_params)
        self.classification_heads = nn.ModuleDict()

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """BART's flags, for subclasses without a config dataclass too."""
        gen_parser_from_dataclass(parser, BartLargeConfig(), delete_default=True)

    @classmethod
    def build_model(cls, args: Any, task: Any) -> BaseFairseqModel:
        """What `args` leaves open is filled in, in place."""
        fill_defaults(args, BartLargeConfig)
        return super().build_model(args, task)

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        """The archives that the paper's authors published."""
        base = "http://dl.fbaipublicfiles.com/fairseq/models"
        names = ("bart.base", "bart.large", "bart.large.mnli", "bart.large.cnn", "bart.large.xsum")
        return {name: f"{base}/{name}.tar.gz" for name in names}

    @property
    def supported_targets(self) -> set[str]:
        return {"self"}

    @property
    def spare_rows(self) -> int:
        """Rows that a checkpoint's embeddings may have beyond this dictionary: that of `<mask>`."""
        return int("<mask>" not in self.encoder.dictionary)

    def forward(  # type: ignore[override]
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor],
        prev_output_tokens: Tensor,
        features_only: bool = False,
        classification_head_name: Optional[str] = None,
        token_embeddings: Optional[Tensor] = None,
        return_all_hiddens: bool = True,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Scores (B, T, V) and extras for a source (B, S) and a shifted target (B, T).

        Args:
            features_only: return features (B, T, C) instead.
            classification_head_name: return this head's scores (B, num_classes); targets are shifted sources then.
            token_embeddings: (B, S, C), used in place of the embedded source.
            return_all_hiddens, alignment_layer, alignment_heads: see the decoder's `forward`.
            num_bits: bits of the quantizers that follow.

        Raises:
            ConfigError: no head of that name.
        """
        encoder_out = self.encoder(
            src_tokens,
            src_lengths=src_lengths,
            token_embeddings=token_embeddings,
            return_all_hiddens=return_all_hiddens,
            **bits_for(self.encoder, num_bits),
        )
        x, extra = self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            features_only=features_only or classification_head_name is not None,
            alignment_layer=alignment_layer,
            alignment_heads=alignment_heads,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
            **bits_for(self.decoder, num_bits),
        )
        if classification_head_name is not None:
            head = self._head(classification_head_name)
            x = head(last_eos_features(x, src_tokens, self.encoder.dictionary.eos()), **bits_for(head, num_bits))
        return x, extra

    def _head(self, name: str) -> nn.Module:
        if name not in self.classification_heads:
            raise ConfigError(unknown("classification head", name, self.classification_heads, where="the model"))
        return self.classification_heads[name]

    def register_classification_head(
        self, name: str, num_classes: Optional[int] = None, inner_dim: Optional[int] = None, **kwargs: Any
    ) -> None:
        """Add a head (replacing one of that name, with a warning if its size changes).

        Args:
            num_classes: scores per sentence.
            inner_dim: width of the pooled feature, the encoder's if None.

        Raises:
            ConfigError: no `num_classes`.
        """
        logger.info(f"Registering classification head: {name}")
        if num_classes is None:
            raise ConfigError(f"classification head {name!r}: num_classes must be given")
        inner_dim = inner_dim or self.args.encoder_embed_dim
        if name in self.classification_heads:
            old: Any = self.classification_heads[name]
            before = (old.out_proj.out_features, old.dense.out_features)
            if before != (num_classes, inner_dim):
                logger.warning(
                    f're-registering head "{name}" with num_classes {num_classes} (prev: {before[0]}) '
                    f"and inner_dim {inner_dim} (prev: {before[1]})"
                )
        self.classification_heads[name] = BARTClassificationHead(
            input_dim=self.args.encoder_embed_dim,
            inner_dim=inner_dim,
            num_classes=num_classes,
            activation_fn=self.args.pooler_activation_fn,
            pooler_dropout=self.args.pooler_dropout,
            do_spectral_norm=self.args.spectral_norm_classification_head,
        )

    def set_beam_size(self, beam: int) -> None:
        """Accepted for fairseq's sake: sources are shared by the hypotheses of a beam anyway."""

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Heads that do not fit or miss, see `fairseq.models.roberta.upgrade`; a row of `<mask>` that this dictionary,
        of a task to fine-tune on, does not have.
        """
        prefix = f"{name}." if name else ""
        super().upgrade_state_dict_named(state_dict, name)
        upgrade.sort_out_heads(self, state_dict, prefix)
        upgrade.keep_missing_parts(self, state_dict, prefix)
        for key in (f"{prefix}{table}.weight" for table in _TABLES):
            if self.spare_rows and key in state_dict and len(state_dict[key]) == len(self.encoder.dictionary) + 1:
                state_dict[key] = state_dict[key][:-1]

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        bpe: Optional[str] = "auto",
        sample_break_mode: str = "eos",
        **kwargs: Any,
    ) -> Any:
        """A BARTHubInterface on a folder with a checkpoint and dictionary.

        Args:
            data_name_or_path: the folder with the dictionary; one that begins with "." is below the model's.
            bpe: name of the byte-pair encoding, or None for none. `auto` is the checkpoint's own, else the one whose
                files are in the folder, else gpt2.
            sample_break_mode: of the task that pre-trained it; `eos` keeps each sentence by itself.
            kwargs: `integer_weights=True` keeps a quantized checkpoint's weights as integers only; settings by bare
                name replace the checkpoint's.
        """
        from fairseq import hub_utils

        if bpe != "auto":
            kwargs["bpe"] = bpe
        loaded = hub_utils.from_pretrained(
            model_name_or_path,
            checkpoint_file,
            data_name_or_path,
            archive_map=cls.hub_models(),
            default_bpe="gpt2",
            load_checkpoint_heads=True,
            sample_break_mode=sample_break_mode,
            **kwargs,
        )
        return BARTHubInterface(loaded["args"], loaded["task"], loaded["models"][0])


register_sizes("bart")


def __getattr__(name: str) -> Any:
    # fairseq's plugins import `bart_large_architecture` and others from here: one function for each size
    size = name.removesuffix("_architecture")
    if size != name and size in SIZES["bart"]:
        return ARCH_CONFIG_REGISTRY[size]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
