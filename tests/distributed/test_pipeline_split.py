"""A model cut between its layers computes, stage by stage, what it computes whole; batches are cut along sentences."""

from argparse import Namespace

import pytest
import torch

from fairseq import models
from fairseq.distributed.codecs import codec
from fairseq.distributed.pipeline.micro_batches import cut
from fairseq.distributed.pipeline.settings import PipelineSettings
from fairseq.distributed.pipeline.split import Split, as_sent, parameter_stages
from fairseq.errors import ConfigError, TrainingError
from fairseq.training import pipelined

SIZES = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 2, "embed_dim": 8, "ffn_embed_dim": 8, "attention_heads": 2}.items()
}
ARCHITECTURES = {
    "roberta_base": {},
    "transformer_lm": {"share_decoder_input_output_embed": True, "tokens_per_sample": 16},
    "transformer": {"share_all_embeddings": True},
}


class Vocabulary:
    """All that a model asks of a dictionary."""

    def __len__(self):
        return 20

    def pad(self):
        return 1

    def eos(self):
        return 2


def build(arch: str):
    torch.manual_seed(0)
    words = Vocabulary()
    task = Namespace(source_dictionary=words, target_dictionary=words, max_positions=lambda: 16)
    args = Namespace(arch=arch, dropout=0.0, attention_dropout=0.0, max_positions=16, **SIZES, **ARCHITECTURES[arch])
    return models.build_model(args, task)


def inputs(arch: str):
    tokens = torch.tensor([[4, 5, 6, 2], [7, 8, 2, 1]])
    if arch == "transformer":
        return {"src_tokens": tokens, "src_lengths": None, "prev_output_tokens": tokens[:, :3]}
    return {"src_tokens": tokens}


def gradients(model, outputs):
    outputs.square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("arch", "balance"),
    [
        ("roberta_base", [1, 1]), ("transformer_lm", [1, 1]), ("transformer", [2, 2]), ("transformer", [1, 3]),
        ("transformer", [3, 1]), ("transformer", [1, 1, 1, 1]),
    ],
)  # fmt: skip
def test_stages_give_what_the_whole_model_gives(arch, balance):
    whole = build(arch)
    expected = whole(**inputs(arch))[0]
    expected_gradients = gradients(whole, expected)
    model = build(arch)
    split = Split(model, balance)
    received, sent = (), []
    for stage in range(len(balance)):
        result = split.run(stage, received, lambda: model(**inputs(arch))[0])
        if stage + 1 < len(balance):
            shapes = split.shapes(stage, rows=3, lengths=[4, 3])  # one row more than there are
            result = as_sent(result, shapes)
            assert [tuple(x.shape) for x in result] == shapes
            sent.append(result)
            received = tuple(x[:, :2] for x in result)
    torch.testing.assert_close(result, expected, rtol=0, atol=0)
    assert set(sent[0][0][:, 2].flatten().tolist()) == {0.0}
    for name, grad in gradients(model, result).items():
        other = expected_gradients[name]
        assert (grad is None) == (other is None), name
        if grad is not None:
            torch.testing.assert_close(grad, other, rtol=0, atol=1e-6)
    torch.testing.assert_close(model(**inputs(arch))[0], expected)  # whole, too, when nobody asks for a stage


def test_parameters_belong_to_the_stages_that_compute_with_them():
    split = Split(build("transformer"), [1, 1, 1, 1])
    owners = {name: stages for name, _, stages in parameter_stages(split)}
    assert owners["encoder.embed_tokens.weight"] == [0, 2, 3]  # embedding of both sides, and the output layer
    assert owners["encoder.layers.1.fc1.weight"] == [1]
    assert owners["decoder.layers.0.fc1.weight"] == [2]
    roberta = {name: stages for name, _, stages in parameter_stages(Split(build("roberta_base"), [1, 1]))}
    assert roberta["encoder.sentence_encoder.embed_tokens.weight"] == [0, 1]  # and the language model's head
    assert roberta["encoder.sentence_encoder.embed_positions.weight"] == [0]
    assert roberta["encoder.lm_head.dense.weight"] == [1]


@pytest.mark.parametrize(
    ("balance", "message"),
    [([2], "at least two stages"), ([1, 2], "makes 3 layers, but the model has 2"), ([1, 1, 1], "has 3 stages"),
     ([2, 0], "every stage has at least one")],
)  # fmt: skip
def test_a_balance_that_is_not_that_of_the_layers_is_refused(balance, message):
    with pytest.raises(ConfigError, match=message):
        Split(build("roberta_base"), balance)


def test_micro_batches_have_every_sentence_once_and_all_tokens():
    target = torch.tensor([[4, 2, 1], [5, 6, 2], [7, 2, 1]])
    sample = {"id": torch.arange(3), "net_input": {"src_tokens": target, "names": ["a", "b", "c"]}, "target": target,
              "nsentences": 3, "ntokens": 7}  # fmt: skip
    parts = cut(sample, 2, pad=1)
    assert [part["ntokens"] for part in parts] == [5, 2]
    assert [part["net_input"]["names"] for part in parts] == [["a", "b"], ["c"]]
    assert torch.equal(torch.cat([part["target"] for part in parts]), target)
    assert cut(sample, 5, pad=1)[3:] == [None, None]
    assert [part["ntokens"] for part in cut({**sample, "ntokens": 100}, 3, pad=1)] == [100, 0, 0]
    with pytest.raises(TrainingError, match=r"extra of a batch has 4 rows"):
        cut({**sample, "extra": torch.zeros(4)}, 2, pad=1)


def test_processes_with_other_settings_are_told_apart(monkeypatch):
    settings = PipelineSettings((1, 1), 2, forward=codec("group:4,64"))
    other = ["1,1", "2", "1f1b", "group:8,64", "none"]
    monkeypatch.setattr(pipelined.distributed_utils, "all_gather_list", lambda own: [own, other])
    with pytest.raises(ConfigError, match="pp_codec_fwd is group:8,64 in rank 1 and group:4,64 in rank 0"):
        pipelined._check_same(settings)


@pytest.mark.parametrize(
    ("balance", "schedule", "world", "message"),
    [
        ((1, 1), "1f1b", 3, "needs 2 processes"),
        ((1, 1, 1, 1), "zbv", 3, "needs 2 processes"),
        ((1, 1), "1f2b", 2, "1f1b"),
    ],
)
def test_processes_that_cannot_share_the_stages_are_refused(balance, schedule, world, message):
    with pytest.raises(ConfigError, match=message):
        PipelineSettings(balance, 4, schedule).ranks(world)
    assert PipelineSettings((1, 1, 1, 1), 4, "zbv").ranks(4) == 2
