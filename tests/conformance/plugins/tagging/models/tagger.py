from dataclasses import dataclass, field
from typing import Optional

import torch.nn as nn
import torch.nn.functional as F
from omegaconf import II

from fairseq import utils
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import (
    BaseFairseqModel,
    FairseqEncoder,
    FairseqEncoderModel,
    register_model,
    register_model_architecture,
)
from fairseq.models.roberta import RobertaEncoder, RobertaModel, base_architecture
from fairseq.modules import FairseqDropout, LayerNorm, PositionalEmbedding
from fairseq.modules.transformer_sentence_encoder import init_bert_params


def num_tags(task):
    return len(task.target_dictionary) - task.target_dictionary.nspecial


@register_model("roberta_tagger")
class RobertaTagger(RobertaModel):
    """RoBERTa with a layer that scores tags; flags in `add_args`."""

    def __init__(self, args, encoder, tags):
        super().__init__(args, encoder)
        self.num_tags = tags
        self.tag_out = nn.Linear(args.encoder_embed_dim, tags)
        self.tag_dropout = FairseqDropout(args.tag_dropout, module_name=self.__class__.__name__)
        self.tag_out.apply(init_bert_params)

    @staticmethod
    def add_args(parser):
        RobertaModel.add_args(parser)
        parser.add_argument("--tag-dropout", type=float, metavar="D", help="dropout in front of the tags' scores")
        parser.add_argument("--tag-activation", choices=utils.get_available_activation_fns(), help="activation")

    @classmethod
    def build_model(cls, args, task):
        tagger_architecture(args)
        if not hasattr(args, "max_positions") or args.max_positions is None:
            args.max_positions = task.max_positions()
        encoder = RobertaEncoder(args, task.source_dictionary)
        return cls(args, encoder, num_tags(task))

    def forward(self, src_tokens, src_lengths=None, **kwargs):
        features, extra = super().forward(src_tokens, features_only=True, **kwargs)
        features = utils.get_activation_fn(self.args.tag_activation)(features)
        return self.tag_out(self.tag_dropout(features)), extra


@register_model_architecture("roberta_tagger", "roberta_tagger")
def tagger_architecture(args):
    args.tag_dropout = getattr(args, "tag_dropout", 0.1)
    args.tag_activation = getattr(args, "tag_activation", "tanh")
    base_architecture(args)


@register_model_architecture("roberta_tagger", "roberta_tagger_tiny")
def tiny_tagger_architecture(args):
    args.encoder_layers = getattr(args, "encoder_layers", 1)
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 16)
    args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 32)
    args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 2)
    tagger_architecture(args)


ACTIVATIONS = ChoiceEnum(utils.get_available_activation_fns())


@dataclass
class ConvTaggerConfig(FairseqDataclass):
    activation_fn: ACTIVATIONS = field(default="relu", metadata={"help": "activation"})
    dropout: float = field(default=0.1, metadata={"help": "dropout"})
    embed_dim: int = field(default=16, metadata={"help": "width"})
    kernel_sizes: str = field(default="[3, 3]", metadata={"help": "a convolution for each"})
    max_target_positions: Optional[int] = II("task.max_source_positions")
    max_words: int = II("task.max_words")


@register_model("conv_tagger", dataclass=ConvTaggerConfig)
class ConvTagger(FairseqEncoderModel):
    """Convolutions over words; settings in a dataclass."""

    @classmethod
    def build_model(cls, cfg, task):
        model = cls(ConvEncoder(cfg, task.source_dictionary, num_tags(task)))
        model.num_tags = num_tags(task)
        return model

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        logits = net_output[0]
        return utils.log_softmax(logits, dim=-1) if log_probs else utils.softmax(logits, dim=-1)


class ConvEncoder(FairseqEncoder):
    def __init__(self, cfg, dictionary, tags):
        super().__init__(dictionary)
        dim = cfg.embed_dim
        self.embed = nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())
        self.positions = PositionalEmbedding(cfg.max_words, dim, dictionary.pad(), learned=False)
        sizes = utils.eval_str_list(cfg.kernel_sizes, type=int)
        self.convs = nn.ModuleList([nn.Conv1d(dim, dim, size, padding=size // 2) for size in sizes])
        self.norm = LayerNorm(dim)
        self.out = nn.Linear(dim, tags)
        self.activation = utils.get_activation_fn(str(cfg.activation_fn))
        self.dropout = cfg.dropout

    def forward(self, src_tokens, src_lengths=None, **kwargs):
        x = self.embed(src_tokens) + self.positions(src_tokens)
        for conv in self.convs:
            x = x + self.activation(conv(x.transpose(1, 2)).transpose(1, 2))
            x = F.dropout(x, p=self.dropout, training=self.training)
        return self.out(self.norm(x)), None

    def max_positions(self):
        return 1024


@register_model_architecture("conv_tagger", "conv_tagger_wide")
def conv_tagger_wide(cfg):
    cfg.embed_dim = getattr(cfg, "embed_dim", 32)


assert issubclass(ConvTagger, BaseFairseqModel)
