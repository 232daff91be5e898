"""`--arch roberta_enc_dec`: RoBERTa as the encoder of an encoder-decoder, with a decoder of the same size.

    scores = lm_head(decoder(prev_output_tokens, sentence_encoder(src_tokens)))

`--pretrained-mlm-checkpoint` begins with a RoBERTa that was pre-trained: with its encoder and language model head, and
with `--pretrained-decoder` with its layers in the decoder, too (attention to the encoder begins anew).
"""

import logging
from argparse import Namespace
from typing import Any

from torch import nn

from fairseq.checkpoint import config
from fairseq.checkpoint.contents import load_checkpoint_to_cpu
from fairseq.dataclass.models import RobertaEncDecConfig
from fairseq.errors import CheckpointError, ConfigError
from fairseq.models.config import fill_defaults, writable
from fairseq.models.fairseq_model import FairseqEncoderDecoderModel
from fairseq.models.registries import register_model
from fairseq.models.roberta.heads import RobertaLMHead
from fairseq.models.roberta.model import RobertaModel
from fairseq.models.transformer.transformer_decoder import TransformerDecoder

__all__ = ["RobertaEncDecModel", "base_enc_dec_architecture"]

logger = logging.getLogger(__name__)

_SIZES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads", "normalize_before", "layerdrop", "learned_pos")


@register_model("roberta_enc_dec", dataclass=RobertaEncDecConfig)
class RobertaEncDecModel(FairseqEncoderDecoderModel):
    """RoBERTa and a decoder."""

    @classmethod
    def build_model(cls, args: Any, task: Any) -> "RobertaEncDecModel":
        """A model for `task.source_dictionary`; what `args` leaves open is filled in, in place.

        Raises:
            ConfigError: source and target have different dictionaries.
        """
        fill_defaults(args, RobertaEncDecConfig)
        if task.source_dictionary != task.target_dictionary:
            raise ConfigError(
                "model=roberta_enc_dec needs a joined dictionary (fairseq-preprocess --joined-dictionary)"
            )
        if args.pretrained_mlm_checkpoint is not None:
            roberta = _read(args.pretrained_mlm_checkpoint, task)
            _take_sizes(args, roberta.args)
        else:
            with writable(args):
                if args.max_positions is None:
                    positions = task.max_positions()
                    args.max_positions = positions[0] if isinstance(positions, tuple) else positions
                args.max_source_positions = args.max_positions
            # a head of its own: it is tied, where that is asked for, to the decoder below
            of_encoder = Namespace(**{**_values(args), "untie_weights_roberta": True})
            built = RobertaModel.build_model(of_encoder, task)
            assert isinstance(built, RobertaModel)
            roberta = built
        return cls.from_roberta(roberta, args, task.source_dictionary)

    @classmethod
    def from_roberta(cls, roberta_enc: RobertaModel, args: Any, dictionary: Any) -> "RobertaEncDecModel":
        """A model around a RoBERTa's encoder and language model head."""
        encoder = roberta_enc.encoder.sentence_encoder
        width, padding_idx = encoder.embed_tokens.embedding_dim, encoder.padding_idx
        shares = args.share_all_embeddings or args.share_decoder_input_output_embed
        table = encoder.embed_tokens if args.share_all_embeddings else nn.Embedding(len(dictionary), width, padding_idx)
        head = roberta_enc.encoder.lm_head if args.pretrained_mlm_checkpoint is not None else None
        if head is None or (shares and head.weight is not table.weight):
            fresh = RobertaLMHead(width, len(dictionary), str(args.activation_fn), table.weight if shares else None)
            if head is not None:
                fresh.load_state_dict({**head.state_dict(), "weight": fresh.weight})
            head = fresh
        settings = cls.read_args_from_roberta(roberta_enc.args)
        settings.share_decoder_input_output_embed = False  # the head has the embedding already
        decoder = TransformerDecoder(settings, dictionary, table, output_projection=head)
        if args.pretrained_decoder:
            _take_layers(decoder, encoder)
        if args.hack_layernorm_embedding:
            encoder.layernorm_embedding = decoder.layernorm_embedding = None
        return cls(encoder, decoder)

    @staticmethod
    def read_args_from_roberta(roberta_args: Any) -> Namespace:
        """RoBERTa's settings with those of a decoder of the same size."""
        args = Namespace(**_values(roberta_args))
        for name in _SIZES:
            setattr(args, f"decoder_{name}", getattr(args, f"encoder_{name}"))
        args.decoder_output_dim = args.decoder_input_dim = args.decoder_embed_dim
        args.decoder_layers_to_keep = args.encoder_layers_to_keep
        args.max_target_positions = args.max_positions
        args.adaptive_softmax_cutoff, args.adaptive_softmax_dropout = None, 0
        args.share_decoder_input_output_embed = True
        return args

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Keys of a RoBERTa, where its encoder and head are wrapped."""
        prefix = f"{name}." if name else ""
        super().upgrade_state_dict_named(state_dict, name)
        for old, new in (("encoder.sentence_encoder.", "encoder."), ("encoder.lm_head.", "decoder.output_projection.")):
            for key in [key for key in state_dict if key.startswith(prefix + old)]:
                state_dict[prefix + new + key[len(prefix + old) :]] = state_dict.pop(key)


def _values(args: Any) -> dict[str, Any]:
    """The settings in a config node or namespace."""
    return {name: args[name] for name in args} if hasattr(args, "keys") else dict(vars(args))


def _read(path: str, task: Any) -> RobertaModel:
    """The RoBERTa in a checkpoint.

    Raises:
        CheckpointError: something else is in it, or it has another dictionary.
    """
    state = load_checkpoint_to_cpu(path)
    cfg = config.typed(state["cfg"], path) if state.get("cfg") is not None else config.from_args(state["args"], path)
    table = state["model"].get("encoder.sentence_encoder.embed_tokens.weight")
    if table is None or len(table) != len(task.source_dictionary):
        what = "it holds no RoBERTa" if table is None else f"it has {len(table)} symbols"
        raise CheckpointError(
            f"model.pretrained_mlm_checkpoint={path}: {what}; this data has {len(task.source_dictionary)} symbols "
            "and needs a RoBERTa that was trained with them"
        )
    with writable(cfg.model):
        cfg.model.load_checkpoint_heads = True
    roberta = RobertaModel.build_model(cfg.model, task)
    assert isinstance(roberta, RobertaModel)
    roberta.load_state_dict(state["model"])
    logger.info(f"begins with the RoBERTa in {path}")
    return roberta


def _take_sizes(args: Any, roberta_args: Any) -> None:
    """What a loaded RoBERTa says of the model, so that the checkpoint's config describes it."""
    values = _values(roberta_args)
    own = ("pretrained_mlm_checkpoint", "dropout", "attention_dropout", "activation_dropout", "_name", "arch")
    with writable(args):
        for name in RobertaEncDecConfig.__dataclass_fields__:
            if name in values and name not in own:
                setattr(args, name, values[name])


def _take_layers(decoder: Any, encoder: Any) -> None:
    """Begin the decoder with the weights that the encoder has under the same names."""
    weights = {key: value for key, value in encoder.state_dict().items() if not key.startswith("embed_tokens")}
    missing = decoder.load_state_dict({key: value.clone() for key, value in weights.items()}, strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys


def base_enc_dec_architecture(args: Any) -> None:
    """Fill in what `args` leaves open: 12 + 12 layers, 768 wide."""
    fill_defaults(args, RobertaEncDecConfig)
