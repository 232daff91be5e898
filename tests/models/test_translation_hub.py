"""`TransformerModel.from_pretrained(...)`: values are fairseq 0.12's for its own checkpoint."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from fairseq import options
from fairseq.checkpoint.reading import read
from fairseq.errors import CheckpointError, ConfigError, DataError
from fairseq.hub_utils import GeneratorHubInterface
from fairseq.models.transformer import TransformerModel
from fairseq_cli import preprocess

MODELS = Path(__file__).resolve().parents[1] / "fixtures" / "translate"


@pytest.fixture(scope="module")
def binarised(tmp_path_factory):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
    from translation_cases import binarise, write_pairs

    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "text")
    parser = options.get_preprocessing_parser
    return binarise(folder, False, lambda words: preprocess.main(parser().parse_args(words)))


@pytest.fixture(scope="module")
def hub(binarised):
    return TransformerModel.from_pretrained(str(MODELS), "model.pt", data_name_or_path=str(binarised))


LENGTHS = {"beam": 2, "max_len_a": 1, "max_len_b": 6}


def test_translate(hub):
    assert isinstance(hub, GeneratorHubInterface)
    assert hub.translate("d1 d2 d3", **LENGTHS) == "e4 e1 e3"
    assert hub.translate(["d1 d2 d3", "d9 d10@@ x1 foo", ""], lenpen=0.6, **LENGTHS) == [
        "e4 e1 e3",
        "e16 e5@@ y2 e16 e5@@ y2 e5@@ y2 e9 e4",
        "e3",
    ]
    only = hub.translate("d1 d2 d3", prefix_allowed_tokens_fn=lambda sentence, tokens: [7, 2], **LENGTHS)
    assert only == "e13"


def test_tokens_in_and_out(hub):
    assert hub.encode("d1 d2 foo").tolist() == [17, 21, 3, 2]
    assert hub.decode(torch.tensor([5, 6, 2])) == "y0 e18"
    found = hub.generate([hub.encode("d1 d2 d3"), hub.encode("d4")], **LENGTHS)
    assert [[each["tokens"].tolist() for each in one] for one in found] == [
        [[15, 16, 10, 2], [20, 10, 2]],
        [[10, 25, 10, 2], [19, 25, 2]],
    ]
    scores = [float(each["score"]) for one in found for each in one]
    assert scores == pytest.approx([-0.6087, -0.8388, -0.6060, -0.8591], abs=1e-4)
    forced = hub.generate(
        hub.encode("d1 d2 d3"), inference_step_args={"prefix_tokens": torch.tensor([[9, 9]])}, **LENGTHS
    )
    assert forced[0]["tokens"].tolist() == [9, 9, 15, 10, 2]


def test_what_goes_wrong(hub, tmp_path):
    with pytest.raises(DataError, match="too long"):
        hub.generate([torch.tensor([5] * 100 + [2])])
    kept = hub.generate(
        [torch.tensor([5] * 100 + [2]), hub.encode("d1 d2 d3")], skip_invalid_size_inputs=True, **LENGTHS
    )
    assert len(kept) == 1
    with pytest.raises(ConfigError, match="--score-reference"):
        hub.score("d1 d2")
    with pytest.raises(CheckpointError, match=r"download https://\S+wmt19\.de-en\.joined-dict\.ensemble"):
        TransformerModel.from_pretrained("transformer.wmt19.de-en")
    assert len(TransformerModel.hub_models()) == 19


def test_an_ensemble_and_a_checkpoint_without_its_data(hub, binarised, tmp_path):
    two = TransformerModel.from_pretrained(str(MODELS), "model.pt:other.pt", data_name_or_path=str(binarised))
    assert len(two.models) == 2 and two.translate("d1 d2 d3", **LENGTHS)
    shutil.copy(MODELS / "model.pt", tmp_path / "model.pt")
    state = read(str(tmp_path / "model.pt"))
    state["task_state"] = hub.task.state_dict()
    state["cfg"]["task"]["source_lang"], state["cfg"]["task"]["target_lang"] = "de", "en"
    torch.save(state, tmp_path / "model.pt")
    alone = TransformerModel.from_pretrained(str(tmp_path))
    assert alone.translate("d1 d2 d3", **LENGTHS) == "e4 e1 e3"
