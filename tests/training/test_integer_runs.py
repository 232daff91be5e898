"""Integer products from the command line: near the simulated run, resumed bit for bit, validated on codes."""

import json

from fairseq.training.quantized import PLAN_FILE

CPT = ("--quantization", "cpt_4_8", "--precision-cycles", "3", "--no-progress-bar")
INTEGER = (*CPT, "--quantization-compute", "integer")


def test_run_and_resume(runs):
    flags = (*INTEGER, "--save-interval-updates", "3")
    runs.trained("simulated", *CPT)
    runs.trained("whole", *flags)
    plan = json.loads((runs.folder / "whole" / PLAN_FILE).read_text())
    rows = {row["quantizer"]: row for row in plan["plan"]}
    assert rows["encoder.sentence_encoder.layers.0.fc1.weight"]["compute"] == "integer"
    simulated, integers = (list(runs.losses(name).values()) for name in ("simulated", "whole"))
    assert simulated != integers
    assert all(abs(a - b) < 0.05 * a for a, b in zip(simulated, integers, strict=True))

    runs.trained("parts", *flags)
    folder = runs.folder / "parts"
    (folder / "checkpoint_1_3.pt").rename(folder / "checkpoint_last.pt")
    runs.trained("parts", *flags)
    runs.assert_same_run("whole", "parts")
