"""fairseq-quantize-checkpoint, and what takes its files: validation, the hub interface, training, other commands."""

import json
import os

import pytest
import torch

from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task
from fairseq.models.roberta import RobertaModel
from fairseq.quantization import parameter_bytes
from fairseq.quantization.formats import build_format
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq_cli import quantize_checkpoint, validate

WIDE = ("--encoder-embed-dim", 64, "--encoder-ffn-embed-dim", 128, "--max-epoch", 1)


@pytest.fixture
def quantize(runs):
    def call(*words, code=0):
        result = runs.call(quantize_checkpoint.cli_main, words)
        assert result.code == code, result.err + result.out
        return result.err if code else result.out

    return call


@pytest.fixture
def score(runs, monkeypatch):
    """Unrounded loss and accuracy by fairseq-validate, and what its model took."""

    def call(path, *flags, compute=None, code=0):
        overrides = {} if compute is None else {"compute": compute}
        words = [runs.data, "--task", "sentence_prediction", "--path", path, "--batch-size", 4, "--cpu"]
        words += ["--num-workers", 0, "--model-overrides", str(overrides), *flags]
        found = {}
        plain = validate.main

        def main(cfg, override_args=None):
            from fairseq.training.evaluation import evaluate, load_for_evaluation

            evaluation = load_for_evaluation(cfg, vars(override_args))
            found.update(evaluate(evaluation, "valid"), bytes=parameter_bytes(evaluation.models[0]))
            codes = [module for module in evaluation.models[0].modules() if isinstance(module, QuantizedWeight)]
            found["integers"] = len(codes)

        monkeypatch.setattr(validate, "main", main)
        result = runs.call(validate.cli_main, words)
        monkeypatch.setattr(validate, "main", plain)
        assert result.code == code, result.err
        return result.err if code else (found["loss"], found["accuracy"], found["integers"], found["bytes"])

    return call


@pytest.mark.parametrize("preset", ["int4", "cpt_4_8", "ffn4_mha16"])
def test_trained_checkpoints(runs, quantize, score, preset):
    rules = "[{match: '*embed_positions*', bits: 4, granularity: token}]"
    runs.trained("run", *WIDE, "--quantization", preset, "--quantization-rules", rules)
    path, out = runs.folder / "run" / "checkpoint_last.pt", runs.folder / "packed.pt"
    text = quantize(path, "--out", out)
    assert "packed weights:" in text and f"{out}:" in text
    content = torch.load(out, weights_only=True)
    assert "last_optimizer_state" not in content and not set(content["model"]) & set(content["packed_weights"])
    assert len(content["packed_weights"]) == 7  # q, k, v, out, fc1, fc2, the table of positions

    for compute in ("simulate", "integer"):
        loss, accuracy, integers, float_bytes = score(path, compute=compute)
        assert integers == (7 if compute == "integer" else 0)
        for file, flags in ((out, ()), (path, ("--integer-weights",))):
            found = score(file, *flags, compute=compute)
            assert found[:3] == (loss, accuracy, 7)
            assert found[3] <= float_bytes - (0 if integers else 3 * 4096 * 2)

    # the weights themselves are those that the quantizers make
    (model,), _, _ = load_model_ensemble_and_task([str(path)])
    model.eval()
    weights = load_checkpoint_to_cpu(str(out))["model"]
    layer = model.encoder.sentence_encoder.layers[0]
    for name, owner in (("self_attn.q_proj", layer.self_attn.q_proj), ("fc2", layer.fc2)):
        quantizer = owner.quantizers.quantizer("weight")
        expected = quantizer.fake(owner.weight, quantizer.bits(model.quantization.config.eval_bits))
        assert torch.equal(weights[f"encoder.sentence_encoder.layers.0.{name}.weight"], expected)


MANY = {
    "q_proj": {"format": "mxfp6"},
    "k_proj": {"format": "fp8_e5m2_ieee"},
    "v_proj": {"format": {"format": "block_fp", "width": 5, "exponent_bits": 5}},
    "self_attn.out_proj": {"format": "binary_residual", "granularity": "channel"},
    "fc1": {"format": "nf4", "granularity": "group:64"},
    "fc2": {"format": "nvfp4"},
    "embed_positions": {"format": "affine_int", "bits": 3, "granularity": "token"},
}


def test_checkpoints_in_many_formats(runs, quantize, score):
    """What fairseq-validate says of a packed file is what it says of the checkpoint; sizes are those of the formats."""
    rules = [{"match": f"*{name}.weight", **rule} for name, rule in MANY.items()]
    for rule in rules:
        rule.setdefault("bits", build_format(rule["format"]).fixed_bits)
    runs.trained("run", *WIDE, "--quantization", "int8", "--quantization-rules", json.dumps(rules))
    path, out = runs.folder / "run" / "checkpoint_last.pt", runs.folder / "packed.pt"
    assert "1 of 3 bits, 2 of 4 bits, 1 of 5 bits, 1 of 6 bits, 1 of 8 bits" in quantize(path, "--out", out)
    loss, accuracy, _, _ = score(path)
    assert score(out)[:3] == (loss, accuracy, 7) and score(path, "--integer-weights")[:3] == (loss, accuracy, 7)
    packed = load_checkpoint_to_cpu(str(out))["packed_weights"]
    sizes = {key.split(".")[-2]: 8 * weight.num_bytes for key, weight in packed.items()}
    assert sizes["q_proj"] == 6.25 * 64 * 64 and sizes["k_proj"] == 8 * 64 * 64 and sizes["fc1"] == 4.5 * 64 * 128
    assert sizes["v_proj"] == 64 * (5 * 64 + 24) and sizes["fc2"] == 4.5 * 64 * 128 + 32  # 4 scales of 5 bits a row


def test_hub(runs, quantize):
    runs.trained("run", *WIDE, "--quantization", "int8", "--quantization-compute", "integer")
    quantize(runs.folder / "run" / "checkpoint_last.pt", "--out", runs.folder / "run" / "packed.pt", "--fp16")
    found = []
    for file, options in (
        ("checkpoint_last.pt", {}),
        ("checkpoint_last.pt", {"integer_weights": True}),
        ("packed.pt", {}),
    ):
        hub = RobertaModel.from_pretrained(
            str(runs.folder / "run"), file, data_name_or_path=str(runs.data), bpe=None, **options
        ).eval()
        scores = hub.predict("sentence_classification_head", hub.encode("w1 w2 w3", "w2 w4"))
        found.append((scores, parameter_bytes(hub)))
    assert torch.equal(found[1][0], found[0][0]) and torch.allclose(found[2][0], found[0][0], atol=1e-2)
    weights = 4 * 64 * 64 + 2 * 64 * 128
    assert found[0][1] - found[1][1] > 2.8 * weights and found[1][1] == found[2][1]


def test_training_starts_from_codes(runs, quantize):
    runs.trained("run", *WIDE, "--quantization", "int8")
    out = runs.folder / "packed.pt"
    quantize(runs.folder / "run" / "checkpoint_last.pt", "--out", out, "--bits", 4)
    weights = load_checkpoint_to_cpu(str(out))["model"]
    resets = ("--reset-optimizer", "--reset-dataloader", "--reset-meters")
    for name, flags in (("float", resets), ("int8", ("--quantization", "int8", *resets)), ("on", ("--max-epoch", 2))):
        quantization = ("--quantization", "int8") if name == "on" else ()
        words = (*WIDE, *quantization, *flags, "--restore-file", out, "--lr", 1e-30, "--weight-decay", 0)
        result = runs.trained(name, *words)
        after = runs.checkpoint(name)["model"]
        key = "encoder.sentence_encoder.layers.0.fc1.weight"
        assert torch.allclose(after[key], weights[key], rtol=0, atol=1e-25), name  # zeros have moved by 1e-30
        assert ("holds no optimizer state" in result.out + result.err) == (name == "on")
    state = load_checkpoint_to_cpu(str(out))
    assert state["cfg"].quantization.eval_bits == 4 and state["packed_weights"][key].num_bits == 4


def test_float_checkpoints(runs, quantize, score, data):
    runs.trained("run", *WIDE)
    path, out = runs.folder / "run" / "checkpoint_last.pt", runs.folder / "packed.pt"
    plain = score(path)
    assert "is not quantized; say how, for example --quantization int8" in quantize(path, "--out", out, code=2)
    error = quantize(path, "--out", out, "--quantization", "int8", code=2)
    assert "have no range yet: give data to calibrate them (--data), or quantize weights only (--weight-only)" in error
    assert error.count("\n") == 1 and not out.exists()

    quantize(path, "--out", out, "--quantization", "int8", "--data", data, "--batches", 3)
    calibrated = score(out)
    assert calibrated[2] == 6 and calibrated[0] == pytest.approx(plain[0], rel=0.05)
    assert score(out, compute="integer")[0] == pytest.approx(calibrated[0], rel=1e-5)
    quantize(path, "--out", out, "--overwrite", "--quantization", "int4", "--bits", 3, "--weight-only")
    state = load_checkpoint_to_cpu(str(out))
    assert {weight.num_bits for weight in state["packed_weights"].values()} == {3}
    found = score(out)
    assert found[2] == 6 and found[0] == pytest.approx(plain[0], rel=0.3) and found[0] != plain[0]
    assert "is not quantized, so it has no integer weights" in score(path, "--integer-weights", code=2)


def test_sizes_are_those_of_weights(runs, quantize):
    """The share is of what is packed, the weights; a run's checkpoint holds twice as much of Adam's."""
    runs.trained("run", *WIDE, "--quantization", "int8")
    path, out = runs.folder / "run" / "checkpoint_last.pt", runs.folder / "packed.pt"
    said = quantize(path, "--out", out).splitlines()[-1]
    tensors = {t.data_ptr(): t.numel() * t.element_size() for t in load_checkpoint_to_cpu(str(path))["model"].values()}
    weights, before, after = sum(tensors.values()), os.path.getsize(path), os.path.getsize(out)
    assert before > 2.5 * weights
    of_weights = f"{after / weights:.2f} of the {weights / 1e6:.1f} MB of weights"
    assert of_weights in said and f"the checkpoint's file has {before / 1e6:.1f} MB, all of its state counted" in said


def test_user_errors(runs, quantize, data, monkeypatch):
    runs.trained("run", *WIDE, "--quantization", "int8")
    path, out = runs.folder / "run" / "checkpoint_last.pt", runs.folder / "packed.pt"

    def error(*words, code=2):
        before = sorted(os.listdir(runs.folder))
        text = quantize(*words, code=code)
        assert text.count("\n") == 1 and text.startswith("error: ")
        assert sorted(os.listdir(runs.folder)) == before  # nothing written
        return text

    assert "does not exist" in error("no.pt", "--out", out, code=1)
    assert "there is no folder" in error(path, "--out", runs.folder / "no" / "packed.pt")
    assert "it is a folder" in error(path, "--out", runs.folder)
    assert "is the checkpoint itself" in error(path, "--out", path)
    assert "is quantized (int8) already" in error(path, "--out", out, "--quantization", "int4")
    assert "was trained with its activations quantized" in error(path, "--out", out, "--weight-only")
    assert "has 2 to 16 bits" in error(path, "--out", out, "--bits", 40)
    assert "--batches must be at least 1" in error(path, "--out", out, "--batches", 0)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "No space left on device; free some space" in error(path, "--out", out, code=1)
    assert "free" not in quantize(path, "--out", out)
    packed = out.read_bytes()
    assert "packed.pt is there already; give another --out, or --overwrite" in error(path, "--out", out)
    assert out.read_bytes() == packed
    assert "is packed already" in error(out, "--out", runs.folder / "again.pt", code=1)
    from fairseq_cli import quant_report

    report = runs.call(quant_report.cli_main, [out])
    assert report.code == 2 and "report on what was packed" in report.err
    with pytest.raises(RuntimeError, match=r"packed as 8 bits symmetric per channel:0, and .* asks for 4 bits"):
        load_model_ensemble_and_task([str(out)], arg_overrides={"eval_bits": 4})
