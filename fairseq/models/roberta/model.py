"""RoBERTa (Liu et al., arXiv:1907.11692): an encoder pretrained to fill in masked tokens, fine-tuned through small
heads.

    model = RobertaModel.build_model(cfg, task)
    model.register_classification_head("sentence_classification_head", num_classes=2)
    logits, _ = model(src_tokens, classification_head_name="sentence_classification_head")

Configs are those of `fairseq.dataclass.models`; a namespace from an old checkpoint does as well.
"""

import logging
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.dataclass.catalog import SIZES
from fairseq.dataclass.flags import gen_parser_from_dataclass
from fairseq.dataclass.models import RobertaConfig
from fairseq.errors import ConfigError, unknown
from fairseq.models import BaseFairseqModel, FairseqEncoderModel, register_model
from fairseq.models.config import drop, fill_defaults, writable
from fairseq.models.fairseq_model import softmax_in_fp32
from fairseq.models.layer_pruning import layer_numbers
from fairseq.models.registries import ARCH_CONFIG_REGISTRY, register_sizes
from fairseq.models.roberta import upgrade
from fairseq.models.roberta.encoder import RobertaEncoder
from fairseq.models.roberta.heads import RobertaClassificationHead, RobertaLMHead
from fairseq.models.roberta.hub_interface import RobertaHubInterface
from fairseq.modules.bert_init import init_bert_params
from fairseq.modules.pruning import weight_of_feed_forward, weight_of_heads
from fairseq.quantization.bits import bits_for

__all__ = [
    "RobertaClassificationHead",
    "RobertaEncoder",
    "RobertaLMHead",
    "RobertaModel",
    "base_architecture",
]

logger = logging.getLogger(__name__)


@register_model("roberta", dataclass=RobertaConfig)
class RobertaModel(FairseqEncoderModel):
    """An encoder with a language model head and any number of named classification heads."""

    published_bpe = "gpt2"  # of the models in hub_models
    encoder: RobertaEncoder

    def __init__(self, args: Any, encoder: RobertaEncoder):
        super().__init__(encoder)
        self.args = args
        self.apply(init_bert_params)
        self.classification_heads = nn.ModuleDict()

    @staticmethod
    def add_args(parser: Any) -> None:  # type: ignore[override]
        """RoBERTa's flags, for subclasses without a config dataclass too."""
        gen_parser_from_dataclass(parser, RobertaConfig(), delete_default=True)

    @classmethod
    def build_model(cls, args: Any, task: Any) -> BaseFairseqModel:
        """A model for `task.source_dictionary`; what `args` leaves open is filled in, in place."""
        fill_defaults(args, RobertaConfig)
        _refuse_unsupported(args)
        _explain_regularisers(args)
        with writable(args):
            if args.max_positions is None:
                args.max_positions = _positions_of(args, task)
            if args.max_source_positions is None:
                args.max_source_positions = args.max_positions
            if args.encoder_layers_to_keep:
                args.encoder_layers = len(layer_numbers(args.encoder_layers_to_keep, "model.encoder_layers_to_keep"))
        return cls(args, RobertaEncoder(args, task.source_dictionary))

    @property
    def supported_targets(self) -> set[str]:
        return {"self"}

    def forward(  # type: ignore[override]  # no lengths: padding is seen in the tokens
        self,
        src_tokens: Tensor,
        features_only: bool = False,
        return_all_hiddens: bool = False,
        classification_head_name: Optional[str] = None,
        num_bits: Optional[int] = None,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Read `src_tokens` (B, T).

        Args:
            features_only: return features (B, T, C) instead of scores over the vocabulary.
            return_all_hiddens: put every layer's output into the extras' `inner_states`.
            classification_head_name: return this head's scores (B, num_classes).
            num_bits: bits of the quantizers that follow.
            kwargs: `masked_tokens` (B, T): score these positions only, (M, V). Other names are ignored.

        Raises:
            ConfigError: no head of that name.
        """
        if classification_head_name is not None:
            features_only = True
        bits = bits_for(self.encoder, num_bits)
        x, extra = self.encoder(src_tokens, features_only, return_all_hiddens, **bits, **kwargs)
        if classification_head_name is not None:
            head = self._head(classification_head_name)
            x = head(x, **bits_for(head, num_bits))
        return x, extra

    def _head(self, name: str) -> nn.Module:
        if name not in self.classification_heads:
            raise ConfigError(unknown("classification head", name, self.classification_heads, where="the model"))
        return self.classification_heads[name]

    def _get_adaptive_head_loss(self) -> Tensor:
        """What a criterion adds to its loss so that attention heads fade away: `mha_reg_scale_factor` times their
        weights.
        """
        layers: Any = self.encoder.sentence_encoder.layers
        return sum(weight_of_heads(layer.self_attn).sum() for layer in layers) * self.args.mha_reg_scale_factor

    def _get_adaptive_ffn_loss(self) -> Tensor:
        """The same of units of feed-forward blocks, `ffn_reg_scale_factor`."""
        layers: Any = self.encoder.sentence_encoder.layers
        return sum(weight_of_feed_forward(each.fc1, each.fc2) for each in layers) * self.args.ffn_reg_scale_factor

    def get_normalized_probs(
        self, net_output: tuple[Tensor, Any], log_probs: bool, sample: Optional[dict[str, Any]] = None
    ) -> Tensor:
        return softmax_in_fp32(net_output[0], log_probs)

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
        if num_classes is None:
            raise ConfigError(f"classification head {name!r}: num_classes must be given")
        inner_dim = inner_dim or self.args.encoder_embed_dim
        if name in self.classification_heads:
            old: Any = self.classification_heads[name]
            before = (old.out_proj.out_features, old.dense.out_features)
            if before != (num_classes, inner_dim):
                logger.warning(
                    "classification head %r is replaced: (classes, width) was %s, is now %s",
                    name,
                    before,
                    (num_classes, inner_dim),
                )
        self.classification_heads[name] = RobertaClassificationHead(
            input_dim=self.args.encoder_embed_dim,
            inner_dim=inner_dim,
            num_classes=num_classes,
            activation_fn=self.args.pooler_activation_fn,
            pooler_dropout=self.args.pooler_dropout,
            q_noise=self.args.quant_noise_pq,
            qn_block_size=self.args.quant_noise_pq_block_size,
            do_spectral_norm=self.args.spectral_norm_classification_head,
        )

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Old key layouts, spare positions, heads that do not fit or miss: see `fairseq.models.roberta.upgrade`."""
        prefix = f"{name}." if name else ""
        upgrade.rename_old_keys(state_dict, prefix)
        super().upgrade_state_dict_named(state_dict, name)
        upgrade.cut_positions(self, state_dict, prefix)
        upgrade.sort_out_heads(self, state_dict, prefix)
        upgrade.keep_missing_parts(self, state_dict, prefix)

    @classmethod
    def hub_models(cls) -> dict[str, Any]:
        """The archives that the RoBERTa paper's authors published."""
        base = "http://dl.fbaipublicfiles.com/fairseq/models"
        names = ("roberta.base", "roberta.large", "roberta.large.mnli", "roberta.large.wsc")
        return {name: f"{base}/{name}.tar.gz" for name in names}

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        bpe: Optional[str] = "auto",
        **kwargs: Any,
    ) -> Any:
        """A RobertaHubInterface on a folder with a checkpoint and dictionary, or on a published archive.

        Args:
            bpe: name of the byte-pair encoding, or None for none. `auto` is the checkpoint's own, else the one whose
                files are in the folder, else that of the published models.
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
            default_bpe=cls.published_bpe,
            load_checkpoint_heads=True,
            **kwargs,
        )
        return RobertaHubInterface(loaded["args"], loaded["task"], loaded["models"][0])


def _positions_of(args: Any, task: Any) -> int:
    """The longest input where the model's config does not say: the task's."""
    tokens_per_sample = getattr(args, "tokens_per_sample", None)
    return task.max_positions() if tokens_per_sample is None else tokens_per_sample


def _refuse_unsupported(args: Any) -> None:
    """Refuse fairseq's switches that change the model in ways that are not supported."""
    defaults = RobertaConfig()
    for name in (
        "adaptive_input",
        "mha_heads_to_keep",
        "ffn_blocks_to_remove",
    ):
        if getattr(args, name) != getattr(defaults, name):
            raise ConfigError(
                f"model.{name}={getattr(args, name)} is not supported; leave it at {getattr(defaults, name)}"
            )


def _explain_regularisers(args: Any) -> None:
    """Say what it takes for AdaPrune's settings to have an effect."""
    for name, method in (("mha_reg_scale_factor", "head"), ("ffn_reg_scale_factor", "ffn")):
        if getattr(args, name):
            logger.warning(
                f"model.{name} has an effect only with a criterion that adds model._get_adaptive_{method}_loss()"
            )


def _fill(args: Any, dataclass: type) -> None:
    """Fill in what `args` leaves open, except an open number of positions: subclasses ask `hasattr` and take the
    task's.
    """
    fill_defaults(args, dataclass)
    if args.max_positions is None:
        drop(args, "max_positions", "max_source_positions")


def base_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 12 layers, 768 wide."""
    _fill(args, RobertaConfig)


register_sizes("roberta", _fill)


def __getattr__(name: str) -> Any:
    # fairseq's plugins import `roberta_large_architecture` and others from here: one function for each size
    size = name.removesuffix("_architecture")
    if size != name and size in SIZES["roberta"]:
        return ARCH_CONFIG_REGISTRY[size]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
