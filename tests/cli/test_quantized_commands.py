"""fairseq-quant-report, fairseq-precision-range-test and the scripts per bit-width, on a tiny task."""

import json
import os
import subprocess
import sys

import pytest

from tests.training.conftest import FLAGS, make_data

PRESETS = ("int4", "int8", "int16", "ffn4_mha16", "ffn16_mha4", "cpt_3_8", "cpt_4_8", "cpt_8_16")
TINY = """
    model.encoder_layers=1 model.encoder_embed_dim=16 model.encoder_ffn_embed_dim=16 model.encoder_attention_heads=2
    dataset.batch_size=4 dataset.num_workers=0 common.cpu=true common.fp16=false
    lr_scheduler.warmup_updates=1 lr_scheduler.total_num_update=8
""".split()  # noqa: SIM905 - a command line


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "bin")


def python(module, *words, cwd, code=0):
    done = subprocess.run(
        [sys.executable, "-m", f"fairseq_cli.{module}", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stderr + done.stdout[-2000:]
    return done


@pytest.fixture(scope="module")
def checkpoints(data, tmp_path_factory):
    """Checkpoints of a quantized and of a float run."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for preset in ("cpt_4_8", "none"):
        words = [data, *FLAGS, "--max-epoch", 1, "--save-dir", folder / preset, "--quantization", preset]
        python("train", *words, cwd=folder)
        found[preset] = folder / preset / "checkpoint_best.pt"
    return found


def test_report_of_weights_and_of_data(checkpoints, data, tmp_path):
    plain = python("quant_report", checkpoints["cpt_4_8"], "--json", "plain.json", cwd=tmp_path)
    assert "layers.0.fc1.weight" in plain.stdout and "SQNR dB" in plain.stdout
    rows = {row["quantizer"]: row for row in json.loads((tmp_path / "plain.json").read_text())}
    fc1 = rows["encoder.sentence_encoder.layers.0.fc1.weight"]
    assert fc1["num_bits"] == 8 and fc1["sqnr"] > 40 and fc1["bitops"] > 0
    assert rows["encoder.sentence_encoder.layers.0.fc1.input"]["sqnr"] is None

    words = (checkpoints["cpt_4_8"], "--data", data, "--json", "data.json", "--png", "data.png")
    assert "data.png" in python("quant_report", *words, cwd=tmp_path).stdout
    assert (tmp_path / "data.png").read_bytes()[:4] == b"\x89PNG"
    rows = {row["quantizer"]: row for row in json.loads((tmp_path / "data.json").read_text())}
    for name in ("fc1.input", "fc1.grad_output", "self_attn.probs"):
        row = rows[f"encoder.sentence_encoder.layers.0.{name}"]
        assert row["num_bits"] == 8 and row["sqnr"] > 5 and row["codes_used"] > 0, row


def test_report_of_a_float_checkpoint(checkpoints, data, tmp_path):
    failed = python("quant_report", checkpoints["none"], cwd=tmp_path, code=2)
    assert failed.stderr.count("\n") == 1 and "is not quantized; say how" in failed.stderr
    words = (checkpoints["none"], "--quantization", "int4", "--data", data, "--json", "rows.json")
    python("quant_report", *words, cwd=tmp_path)
    rows = {row["quantizer"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows["encoder.sentence_encoder.layers.0.fc2.input"]["num_bits"] == 4
    failed = python("quant_report", checkpoints["cpt_4_8"], "--quantization", "int4", cwd=tmp_path, code=2)
    assert "is quantized (cpt_4_8) already" in failed.stderr


def test_range_test(repository, data, tmp_path):
    words = ["--updates-per-bits", 4, "--low", 3, "--all", "--out", "found/range", "--config-dir"]
    words += [repository / "examples/roberta/config/finetuning", "--config-name", "rte", f"task.data={data}"]
    words += ["task.max_positions=64", "model.max_positions=64", *TINY]
    failed = python("precision_range_test", *words, cwd=tmp_path, code=2)
    assert "add a preset, such as quantization=cpt_3_8" in failed.stderr
    done = python("precision_range_test", *words, "quantization=cpt_3_8", "quantization.num_bits=5", cwd=tmp_path)
    report = json.loads((tmp_path / "found" / "range.json").read_text())
    assert [point["num_bits"] for point in report["curve"]] == [3, 4, 5]
    assert all(len(seen) == 4 for seen in report["updates"].values())
    assert (tmp_path / "found" / "range.png").exists() and "bits" in done.stdout
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize(("preset", "backbone"), [("cpt_3_8", "frozen"), ("ffn4_mha16", "full")])
def test_scripts(repository, data, tmp_path, preset, backbone):
    words = ["rte", data, "none", 3, backbone, "task.max_positions=64", "model.max_positions=64", *TINY]
    command = [repository / "scripts" / f"glue_{preset}.sh", *map(str, words)]
    env = {**os.environ, "FAIRSEQ_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}

    def run(*more):
        done = subprocess.run([*command, *more], capture_output=True, text=True, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr + done.stdout[-2000:]
        return done.stdout

    first = run("optimization.max_update=2")
    assert f"quantization={preset}" in first and ("trained parameters" in first) == (backbone == "frozen")
    assert (tmp_path / "outputs" / f"rte-{preset}-{backbone}-seed3" / "checkpoint_last.pt").exists()
    second = run("optimization.max_update=4")
    assert "num_updates=3" in second.replace(": ", "=").replace('"', "") or "@ 4 updates" in second


def test_each_preset_has_its_script(repository):
    scripts = {path.name for path in (repository / "scripts").glob("glue_*.sh")}
    assert scripts == {"glue_quantized.sh", *(f"glue_{preset}.sh" for preset in PRESETS)}
    for preset in PRESETS:
        path = repository / "scripts" / f"glue_{preset}.sh"
        assert os.access(path, os.X_OK) and f'glue_quantized.sh" {preset} ' in path.read_text()
    done = subprocess.run([repository / "scripts" / "glue_int4.sh", "rte"], capture_output=True, text=True)
    assert done.returncode == 2 and "TASK DATA CHECKPOINT SEED" in done.stderr
