"""`fairseq-quant-report --sensitivity`, and what takes the plan that it writes."""

import json

import pytest

from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.errors import ConfigError
from fairseq.quantization.spec import GRADIENT
from fairseq_cli import quant_report, quantize_checkpoint, validate


@pytest.fixture
def report(runs):
    def call(*words, code=0):
        result = runs.call(quant_report.cli_main, [*words, "--sensitivity", "--batch-size", 4])
        assert result.code == code, result.err + result.out
        if code:
            assert result.err.count("\n") == 1
            return result.err
        return result.out

    return call


def test_a_plan_from_a_float_checkpoint_runs_everywhere(runs, report):
    runs.trained("run", "--max-epoch", 1)
    checkpoint, plan, rows = (
        runs.folder / "run" / "checkpoint_best.pt",
        runs.folder / "mixed.yaml",
        runs.folder / "a.json",
    )
    words = ["--quantization", "int8", "--data", runs.data, "--measure", "change", "--json", rows]
    out = report(checkpoint, *words, "--bits", "2,4,8", "--examples", 9, "--budget", 5, "--subset", "train",
                 "--plan", plan, "--score-subset", "valid", "--png", runs.folder / "a.png")  # fmt: skip
    assert "12 examples of 'train'; accuracy" in out and "all at 4: " in out and "(11 examples, 4.000 bits)" in out
    assert (runs.folder / "a.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(rows.read_text())
    assert len(found["rows"]) == 3 * 8 and found["plan"]["average_bits"] <= 5 + 1e-9 and found["metric"] == "accuracy"
    fc1 = "encoder.sentence_encoder.layers.0.fc1"
    assert f"{fc1.rpartition('.')[0]}  " in out and found["plan"]["products"][fc1] in "248"

    # packed and scored; trained by both commands
    packed = runs.folder / "packed.pt"
    words = [checkpoint, "--out", packed, "--quantization", plan, "--data", runs.data]
    assert runs.call(quantize_checkpoint.cli_main, words).code == 0
    scored = runs.call(validate.cli_main, [runs.data, "--path", packed, "--cpu", "--batch-size", 4])
    assert scored.code == 0 and "accuracy" in scored.out
    runs.trained("tuned", "--quantization", plan, "--num-grad-bits", 6, "--max-update", 2)
    plan.unlink()  # checkpoints hold what it said
    for path in (packed, runs.folder / "tuned" / "checkpoint_last.pt"):
        models, cfg, _ = load_model_ensemble_and_task([str(path)])
        assert cfg.quantization.preset == "int8"
        active = {row.quantizer: row for row in models[0].quantization.plan.active if row.role != GRADIENT}
        for product, bits in found["plan"]["products"].items():
            own = [row.spec.bits for row in active.values() if row.product == product]
            assert len(own) == 2 and set(own) == {int(bits)}


def test_of_a_quantized_checkpoint(runs, report):
    runs.trained("run", "--quantization", "cpt_4_8", "--precision-cycles", 2, "--max-epoch", 1)
    checkpoint = runs.folder / "run" / "checkpoint_last.pt"
    plan = runs.folder / "mixed.yaml"
    out = report(checkpoint, "--data", runs.data, "--bits", "3,8", "--budget", 8, "--plan", plan, "--metric", "loss",
                 "--score-subset", "valid")  # fmt: skip
    assert "the other products at their own bits" in out and "loss of loss, one product at 3 bits" in out
    table = out[out.index("one product at 8 bits") :].splitlines()
    assert set(table[2].split()[1:]) <= {"0", "-0"}  # its own bits are 8: nothing changes
    assert "preset: cpt_4_8" in plan.read_text()
    at_8 = next(line for line in out.splitlines() if "all at 8" in line)
    as_it_is = next(line for line in out.splitlines() if "as it is" in line)
    assert at_8.split(":")[1].split()[0] == as_it_is.split(":")[1].split()[0]


def test_formats_as_candidates(runs, report):
    runs.trained("run", "--max-epoch", 1)
    words = [runs.folder / "run" / "checkpoint_last.pt", "--quantization", "int8"]  # on the data that it was trained on
    out = report(
        *words, "--bits", "3,fp4_e2m1,fixed_point:6", "--budget", 4, "--by", "loss", "--score-subset", "valid1"
    )
    assert "fp4_e2m1, 4 bits" in out and "all at fixed_point:6" in out


def test_errors(runs, report):
    runs.trained("run", "--max-epoch", 1)
    runs.trained("int8", "--max-epoch", 1, "--quantization", "int8")
    path, data = runs.folder / "run" / "checkpoint_last.pt", ["--data", runs.data]
    assert "is not quantized; say how" in report(path, *data, code=2)
    float_words = [path, *data, "--quantization", "int8"]
    assert "did you mean 'accuracy'" in report(*float_words, "--metric", "accurac", code=2)
    assert "unknown number format 'fp4'" in report(*float_words, "--bits", "fp4", code=2)
    assert "--plan needs --budget" in report(*float_words, "--plan", "x.yaml", code=2)
    assert "the name of a plan ends in .yaml" in report(*float_words, "--budget", 4, "--plan", "x", code=2)
    assert "candidates have 4 or more" in report(*float_words, "--budget", 2, "--bits", "4,8", "--examples", 4, code=2)
    quantized = [runs.folder / "int8" / "checkpoint_last.pt", *data]
    assert "candidates are numbers of bits, not mxfp4" in report(*quantized, "--bits", "mxfp4", code=2)
    alone = runs.call(quant_report.cli_main, [path, "--budget", 4])
    assert alone.code == 2 and "--budget has no effect without --sensitivity" in alone.err


def test_a_file_that_says_how_to_quantize(runs, tmp_path):
    from fairseq.dataclass.initialize import compose

    file = tmp_path / "plan.yaml"
    file.write_text(
        "quantization:\n  preset: cpt_3_8\n  schedule: {num_cycles: 2}\n  rules: [{match: '*.fc1.*', bits: 4}]\n"
    )
    words = [
        f"quantization={file}",
        "quantization.schedule.min_bits=5",
        "quantization.rules=[{match: '*.fc2.*', bits: 6}]",
    ]
    found = compose(overrides=["model=roberta", *words], check=False).quantization
    assert found.preset == "cpt_3_8" and [rule["bits"] for rule in found.rules] == [4, 6]
    assert found.schedule.num_cycles == 2 and found.schedule.min_bits == 5
    for text, message in (
        ("rules: []", "needs a key `preset`"),
        ("preset: int8\nbits: 4", "unknown key 'bits'"),
        ("a: [", "is no YAML"),
        (f"preset: {file}", "needs a key `preset`"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            compose(overrides=["model=roberta", f"quantization={file}"], check=False)
    with pytest.raises(ConfigError, match="cannot read missing"):
        compose(overrides=["model=roberta", "quantization=missing.yaml"], check=False)
