"""`fairseq-train --pipeline-model-parallel`: losses of an unsplit run, files that either goes on from."""

import json

import pytest
import torch

from fairseq.logging.history import read_history

FLAGS = ("--encoder-layers", 4, "--clip-norm", 1.0, "--update-freq", 2)
PIPELINE = ("--pipeline-model-parallel", "--pipeline-chunks", 4)
TWO_STAGES = (*PIPELINE, "--pipeline-balance", "1,3")


def reported(folder):
    """Loss, accuracy and norm of gradients of every update and validation; the last batch of an epoch has two rows."""
    return {
        (r["tag"], r["num_updates"]): (r["loss"], r["accuracy"], r.get("gnorm", 0.0))
        for r in read_history(folder) if r["tag"] in ("train_inner", "valid")
    }  # fmt: skip


def run(group, name, *flags):
    done = group.run(*group.train(name, *FLAGS, *flags))
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def whole(group):
    run(group, "whole")
    return reported(group.folder / "whole")


def assert_same(one, two):
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert two[key] == pytest.approx(value, abs=2e-3), key


def test_pipeline_and_copies_of_it_train_as_one_process_does(group, whole):
    """Two copies of a pipeline of two processes with two stages each; both sides read the same batches an update."""
    stages = ("--pipeline-balance", "1,1,1,1", "--pp-schedule", "zbv", "--distributed-world-size", 4)
    run(group, "copies", *PIPELINE, *stages, "--update-freq", 1)
    assert_same(whole, reported(group.folder / "copies"))


def test_either_kind_of_run_goes_on_from_the_other(group, whole):
    run(group, "first", *TWO_STAGES, "--max-epoch", 1)
    run(group, "first")
    assert_same(whole, reported(group.folder / "first"))
    run(group, "second", "--max-epoch", 1)
    run(group, "second", *TWO_STAGES)
    assert_same(whole, reported(group.folder / "second"))
    files = [torch.load(group.folder / name / "checkpoint_last.pt", weights_only=False) for name in ("whole", "second")]
    assert [list(file["model"]) for file in files].count(list(files[0]["model"])) == 2
    states = [file["last_optimizer_state"]["state"] for file in files]
    assert list(states[0]) == list(states[1])


def test_codecs_change_what_is_computed_and_quantized_layers_run(group, whole):
    codecs = ("--pp-codec-fwd", "group:4,64", "--pp-codec-bwd", "group:8,64,sr")
    done = run(group, "codecs", *TWO_STAGES, *codecs, "--quantization", "int8", "--max-epoch", 1, "--pp-report")
    assert "activations group:4,64, gradients group:8,64,sr" in done.stdout
    rows = json.loads((group.folder / "codecs" / "pipeline_report.json").read_text())["boundaries"]
    assert [(row["boundary"], row["direction"]) for row in rows] == [(0, "backward"), (0, "forward")]
    backward, forward = rows
    assert 3 < backward["tensor_bytes"] / backward["sent_bytes"] < 3.77  # of 16 channels and few tokens
    assert 5 < forward["tensor_bytes"] / forward["sent_bytes"] < 7.12
    assert all(row["encode_s"] > 0 and row["decode_s"] > 0 for row in rows)
    found = reported(group.folder / "codecs")
    first = ("train_inner", 1)
    assert found[first][0] != whole[first][0]
    assert found[first][0] == pytest.approx(whole[first][0], abs=0.2)
