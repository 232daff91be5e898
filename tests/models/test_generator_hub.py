"""`TransformerLanguageModel.from_pretrained(...)`: sample, score, generate."""

import random
import sys

import pytest
import torch

from fairseq.data import Dictionary, indexed_dataset
from fairseq.errors import CheckpointError, ConfigError, DataError
from fairseq.hub_utils import GeneratorHubInterface, TokenizerHubInterface
from fairseq.models.transformer_lm import TransformerLanguageModel

FLAGS = """
    --task language_modeling --arch transformer_lm_gpt2_tiny --decoder-embed-dim 16 --decoder-ffn-embed-dim 16
    --tokens-per-sample 16 --adaptive-softmax-cutoff 8,14 --criterion adaptive_loss --optimizer adam --lr 0.02
    --batch-size 4 --max-update 60 --cpu --num-workers 0 --no-epoch-checkpoints --dropout 0 --attention-dropout 0
    --quantization w8 --no-save-optimizer-state
""".split()  # noqa: SIM905 - a command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that has learnt to count, at 8 bits, and its dictionary."""
    from fairseq_cli import train

    folder = tmp_path_factory.mktemp("hub")
    dictionary = Dictionary()
    for index in range(16):
        dictionary.add_symbol(f"w{index}")
    dictionary.save(str(folder / "dict.txt"))
    draw = random.Random(0)
    for split in ("train", "valid"):
        builder = indexed_dataset.make_builder(f"{folder}/{split}.bin", "mmap", len(dictionary))
        for _ in range(60):
            first = draw.randrange(16)
            builder.add_item(torch.tensor([*(4 + (first + i) % 16 for i in range(9)), 2]).int())
        builder.finalize(f"{folder}/{split}.idx")
    before, sys.argv = sys.argv, ["train", str(folder), *FLAGS, "--save-dir", str(folder)]
    try:
        train.cli_main()
    finally:
        sys.argv = before
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["float", "integer weights"])
def hub(folder, request):
    found = TransformerLanguageModel.from_pretrained(folder, "checkpoint_last.pt", integer_weights=request.param)
    assert isinstance(found, GeneratorHubInterface)
    return found


def test_sample_goes_on_with_the_sentence(hub):
    assert hub.sample("w3 w4 w5", beam=2, max_len_b=6).startswith("w3 w4 w5 w6 w7")
    assert hub.translate(["w1 w2", "w9 w10"], max_len_b=4) == [
        hub.sample(each, 5, max_len_b=4) for each in ("w1 w2", "w9 w10")
    ]


def test_sampling_follows_the_seed(hub):
    texts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts.append(hub.sample("w3", beam=1, sampling=True, max_len_b=8, temperature=3.0))
    assert texts[0] == texts[1] != texts[2]


def test_score(hub):
    likely, unlikely = hub.score(["w3 w4 w5 w6", "w3 w9 w2 w1"])
    assert likely["score"] > unlikely["score"] + 1
    assert likely["positional_scores"].shape == likely["tokens"].shape == (4,)
    alone = hub.score("w3 w4 w5 w6")
    torch.testing.assert_close(alone["positional_scores"], likely["positional_scores"])
    assert hub.score("w3 w4\nw5", replace_newline_with_eos=True)["tokens"].tolist()[2] == 2


def test_generate_gives_hypotheses_best_first(hub, caplog):
    caplog.set_level("INFO", logger="fairseq.hub_utils")
    found = hub.generate(hub.encode("w3 w4"), beam=3, max_len_b=5, verbose=True)
    assert len(found) == 3 and found[0]["score"] >= found[1]["score"] >= found[2]["score"]
    lines = [record.getMessage().split("\t")[0] for record in caplog.records if "\t" in record.getMessage()]
    assert lines == ["S", *["H", "P"] * 3]


def test_what_goes_wrong(hub, folder):
    with pytest.raises(ConfigError, match="unknown generation setting 'max_len'"):
        hub.sample("w1", max_len=3)
    with pytest.raises(DataError, match="16"):
        hub.score(" ".join(["w1"] * 40))
    with pytest.raises(
        CheckpointError, match=r"is not on this machine: download https://dl.fbaipublicfiles\.com/\S+huge"
    ):
        TransformerLanguageModel.from_pretrained("transformer_lm.gbw.adaptive_huge")


def test_a_tokenizer_by_name():
    assert TokenizerHubInterface("space").encode("a   b") == "a b"
    with pytest.raises(ConfigError, match="unknown tokenizer 'mosess'"):
        TokenizerHubInterface("mosess")
