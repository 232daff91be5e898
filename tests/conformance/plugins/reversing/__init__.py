"""A third-party plugin in the style of fairseq 0.9: everything in `add_args`, legacy base classes, one file."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from fairseq import metrics, options, utils
from fairseq.criterions import LegacyFairseqCriterion, register_criterion
from fairseq.data import Dictionary, FairseqDataset, ListDataset, data_utils
from fairseq.models import (
    FairseqEncoder,
    FairseqEncoderDecoderModel,
    FairseqIncrementalDecoder,
    register_model,
    register_model_architecture,
)
from fairseq.models.transformer import TransformerEncoder, TransformerModel, base_architecture
from fairseq.optim.lr_scheduler import LegacyFairseqLRScheduler, register_lr_scheduler
from fairseq.tasks import LegacyFairseqTask, register_task


@register_task("reversing")
class ReversingTask(LegacyFairseqTask):
    """Read a line of letters, write it backwards."""

    @staticmethod
    def add_args(parser):
        parser.add_argument("data", metavar="DIR", help="folder with the text")
        parser.add_argument("--max-letters", default=20, type=int, metavar="N", help="longest line")
        parser.add_argument("--keep-order", action="store_true", help="do not reverse")

    @classmethod
    def setup_task(cls, args, **kwargs):
        letters = Dictionary()
        for split in ("train", "valid"):
            with open(os.path.join(args.data, split), encoding="utf-8") as file:
                for line in file:
                    for letter in line.split():
                        letters.add_symbol(letter)
        letters.finalize(padding_factor=1)
        return cls(args, letters)

    def __init__(self, args, letters):
        super().__init__(args)
        self.letters = letters

    def load_dataset(self, split, **kwargs):
        with open(os.path.join(self.args.data, split), encoding="utf-8") as file:
            lines = [line.split() for line in file]
        encode = lambda words: self.letters.encode_line(" ".join(words), add_if_not_exist=False).long()  # noqa: E731
        source = [encode(words) for words in lines]
        target = source if self.args.keep_order else [encode(words[::-1]) for words in lines]
        self.datasets[split] = ReversingDataset(
            ListDataset(source, [len(s) for s in source]), ListDataset(target, [len(t) for t in target]), self.letters
        )

    def max_positions(self):
        return (self.args.max_letters, self.args.max_letters)

    @property
    def source_dictionary(self):
        return self.letters

    @property
    def target_dictionary(self):
        return self.letters


class ReversingDataset(FairseqDataset):
    def __init__(self, source, target, letters):
        self.source, self.target, self.letters = source, target, letters

    def __getitem__(self, index):
        return {"id": index, "source": self.source[index], "target": self.target[index]}

    def __len__(self):
        return len(self.source)

    def num_tokens(self, index):
        return max(self.source.num_tokens(index), self.target.num_tokens(index))

    def size(self, index):
        return (self.source.size(index), self.target.size(index))

    def ordered_indices(self):
        return np.random.permutation(len(self))

    def collater(self, samples):
        if not samples:
            return None
        pad, eos = self.letters.pad(), self.letters.eos()
        merge = lambda key, **kw: data_utils.collate_tokens([s[key] for s in samples], pad, eos, **kw)  # noqa: E731
        return {
            "id": torch.tensor([s["id"] for s in samples]),
            "nsentences": len(samples),
            "ntokens": sum(len(s["target"]) for s in samples),
            "net_input": {
                "src_tokens": merge("source"),
                "src_lengths": torch.tensor([s["source"].numel() for s in samples]),
                "prev_output_tokens": merge("target", move_eos_to_beginning=True),
            },
            "target": merge("target"),
        }


class GRUEncoder(FairseqEncoder):
    def __init__(self, dictionary, embed_dim, hidden_dim):
        super().__init__(dictionary)
        self.embed_tokens = nn.Embedding(len(dictionary), embed_dim, padding_idx=dictionary.pad())
        self.rnn = nn.GRU(embed_dim, hidden_dim, batch_first=True)

    def forward(self, src_tokens, src_lengths=None, **kwargs):
        output, state = self.rnn(self.embed_tokens(src_tokens))
        return {"output": output, "state": state, "padding": src_tokens.eq(self.dictionary.pad())}

    def reorder_encoder_out(self, encoder_out, new_order):
        return {
            "output": encoder_out["output"].index_select(0, new_order),
            "state": encoder_out["state"].index_select(1, new_order),
            "padding": encoder_out["padding"].index_select(0, new_order),
        }


class GRUDecoder(FairseqIncrementalDecoder):
    def __init__(self, dictionary, embed_dim, hidden_dim, dropout):
        super().__init__(dictionary)
        self.embed_tokens = nn.Embedding(len(dictionary), embed_dim, padding_idx=dictionary.pad())
        self.rnn = nn.GRU(embed_dim, hidden_dim, batch_first=True)
        self.fc_out = nn.Linear(2 * hidden_dim, len(dictionary))
        self.dropout = dropout

    def forward(self, prev_output_tokens, encoder_out=None, incremental_state=None, **kwargs):
        state = encoder_out["state"]
        if incremental_state is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
            cached = utils.get_incremental_state(self, incremental_state, "state")
            state = state if cached is None else cached
        x, state = self.rnn(self.embed_tokens(prev_output_tokens), state)
        if incremental_state is not None:
            utils.set_incremental_state(self, incremental_state, "state", state)
        scores = torch.bmm(x, encoder_out["output"].transpose(1, 2))
        scores = scores.masked_fill(encoder_out["padding"].unsqueeze(1), float("-inf"))
        attention = F.softmax(scores, dim=-1)
        x = torch.cat([x, torch.bmm(attention, encoder_out["output"])], dim=-1)
        x = F.dropout(x, p=self.dropout, training=self.training)
        return self.fc_out(x), {"attn": [attention]}


@register_model("gru_reverser")
class GRUReverser(FairseqEncoderDecoderModel):
    @staticmethod
    def add_args(parser):
        parser.add_argument("--dropout", type=float, metavar="D", help="dropout")
        parser.add_argument("--embed-dim", type=int, metavar="N", help="width of embeddings")
        parser.add_argument("--hidden-dims", type=str, metavar="EXPR", help="width of encoder and decoder")

    @classmethod
    def build_model(cls, args, task):
        reverser_architecture(args)
        hidden = utils.eval_str_list(args.hidden_dims, type=int)[0]
        encoder = GRUEncoder(task.source_dictionary, args.embed_dim, hidden)
        decoder = GRUDecoder(task.target_dictionary, args.embed_dim, hidden, args.dropout)
        return cls(encoder, decoder)


@register_model_architecture("gru_reverser", "gru_reverser")
def reverser_architecture(args):
    args.dropout = getattr(args, "dropout", 0.0)
    args.embed_dim = getattr(args, "embed_dim", 12)
    args.hidden_dims = getattr(args, "hidden_dims", "[16]")


@register_model("letter_transformer")
class LetterTransformer(TransformerModel):
    """fairseq's transformer with a bias for each letter."""

    def __init__(self, args, encoder, decoder):
        super().__init__(args, encoder, decoder)
        self.letter_bias = nn.Parameter(torch.full((len(decoder.dictionary),), args.initial_bias))

    @staticmethod
    def add_args(parser):
        TransformerModel.add_args(parser)
        parser.add_argument("--initial-bias", type=float, metavar="X", help="bias of each letter at the start")

    @classmethod
    def build_encoder(cls, args, src_dict, embed_tokens):
        return LetterEncoder(args, src_dict, embed_tokens)

    def forward(self, src_tokens, src_lengths, prev_output_tokens, **kwargs):
        scores, extra = super().forward(src_tokens, src_lengths, prev_output_tokens, **kwargs)
        return scores + self.letter_bias, extra


class LetterEncoder(TransformerEncoder):
    def forward(self, src_tokens, src_lengths=None, return_all_hiddens=False, token_embeddings=None):
        output = super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        output["encoder_out"] = [output["encoder_out"][0] * 0.5]
        return output


@register_model_architecture("letter_transformer", "letter_transformer_tiny")
def letter_transformer_tiny(args):
    args.initial_bias = getattr(args, "initial_bias", 0.1)
    args.encoder_embed_dim = getattr(args, "encoder_embed_dim", 16)
    args.encoder_ffn_embed_dim = getattr(args, "encoder_ffn_embed_dim", 24)
    args.encoder_attention_heads = getattr(args, "encoder_attention_heads", 4)
    args.decoder_embed_dim = getattr(args, "decoder_embed_dim", args.encoder_embed_dim)
    args.decoder_attention_heads = getattr(args, "decoder_attention_heads", 2)
    args.encoder_layers = getattr(args, "encoder_layers", 2)
    args.decoder_layers = getattr(args, "decoder_layers", 1)
    base_architecture(args)


@register_criterion("reversing_loss")
class ReversingCriterion(LegacyFairseqCriterion):
    def __init__(self, args, task):
        super().__init__(args, task)
        self.first_letter_weight = args.first_letter_weight
        self.pad = task.target_dictionary.pad()

    @staticmethod
    def add_args(parser):
        parser.add_argument("--first-letter-weight", default=1.0, type=float, metavar="W", help="of the first letter")

    def forward(self, model, sample, reduce=True):
        net_output = model(**sample["net_input"])
        log_probs = model.get_normalized_probs(net_output, log_probs=True)
        target = model.get_targets(sample, net_output)
        flat = log_probs.view(-1, log_probs.size(-1))
        loss = F.nll_loss(flat, target.view(-1), ignore_index=self.pad, reduction="none").view_as(target)
        loss[:, 0] = loss[:, 0] * self.first_letter_weight
        loss = loss.sum()
        sample_size = sample["target"].size(0) if self.args.sentence_avg else sample["ntokens"]
        right = (log_probs.argmax(-1).eq(target) & target.ne(self.pad)).sum()
        logging_output = {
            "loss": loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample_size,
            "right": right.data,
        }
        return loss, sample_size, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs) -> None:
        loss = utils.item(sum(log.get("loss", 0) for log in logging_outputs))
        sample_size = utils.item(sum(log.get("sample_size", 0) for log in logging_outputs))
        ntokens = utils.item(sum(log.get("ntokens", 0) for log in logging_outputs))
        right = utils.item(sum(log.get("right", 0) for log in logging_outputs))
        metrics.log_scalar("loss", loss / sample_size, sample_size, round=4)
        metrics.log_scalar_sum("_right", right)
        metrics.log_scalar_sum("_letters", ntokens)
        metrics.log_derived("accuracy", lambda m: round(m["_right"].sum * 100.0 / m["_letters"].sum, 2))


@register_lr_scheduler("stairs")
class Stairs(LegacyFairseqLRScheduler):
    """Half the learning rate every few updates."""

    def __init__(self, args, optimizer):
        super().__init__(args, optimizer)
        self.lr = args.lr[0]
        self.optimizer.set_lr(self.lr)

    @staticmethod
    def add_args(parser):
        parser.add_argument("--stair-updates", default=15, type=int, metavar="N", help="updates on each stair")

    def step(self, epoch, val_loss=None):
        super().step(epoch, val_loss)
        return self.optimizer.get_lr()

    def step_update(self, num_updates):
        self.optimizer.set_lr(self.lr * 0.5 ** (num_updates // self.args.stair_updates))
        return self.optimizer.get_lr()


assert options is not None
