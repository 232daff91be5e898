"""`fairseq-validate` and `fairseq-hydra-validate` report what training reported, over every example."""

import contextlib

import pytest

from fairseq.errors import ConfigError
from fairseq.logging.history import read_history
from fairseq_cli.hydra_validate import hydra_main
from fairseq_cli.validate import main


def test_the_same_numbers(runs, data, monkeypatch):
    from fairseq import options
    from fairseq.dataclass.initialize import compose
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    runs.trained("run", "--valid-subset", "valid,valid1")
    path = runs.folder / "run" / "checkpoint_last.pt"
    trained = {
        record["tag"]: record for record in read_history(runs.folder / "run") if record["tag"].startswith("valid")
    }
    for batch_size in (4, 3):  # the last numbers must not depend on how the examples are batched
        argv = [str(data), "--task", "sentence_prediction", "--path", str(path), "--valid-subset", "valid,valid1"]
        argv += ["--batch-size", str(batch_size), "--cpu", "--num-workers", "0"]
        args = options.parse_args_and_arch(options.get_validation_parser(), argv)
        stats = main(convert_namespace_to_omegaconf(args))
        assert set(stats) == {"valid", "valid1"}
        for subset, numbers in stats.items():
            exact = batch_size == 4
            for key in ("loss", "accuracy"):
                want = trained[subset][key]
                assert float(numbers[key]) == (want if exact else pytest.approx(want, rel=1e-5)), (subset, key)
        assert round(float(stats["valid"]["accuracy"]) / 100 * 11, 1) == round(float(stats["valid"]["accuracy"]) * 0.11)

    words = ["task=sentence_prediction", f"task.data={data}", f"common_eval.path={path}", "dataset.batch_size=4"]
    words += ["common.cpu=true", "checkpoint.best_checkpoint_metric=accuracy", "task.num_classes=2"]
    words += ["task.init_token=0", "task.separator_token=2", "dataset.num_workers=0"]
    cfg = compose(overrides=words, check=False)
    assert hydra_main(cfg) == trained["valid"]["accuracy"]


def test_overrides_that_no_setting_of_the_checkpoint_takes(runs, data):
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    runs.trained("other")
    path = runs.folder / "other" / "checkpoint_last.pt"
    words = [str(data), "--task", "sentence_prediction", "--path", str(path), "--cpu", "--num-workers", "0"]
    for overrides, wrong in (("{'dropout': 0.2}", None), ("{'drpout': 0.2}", "'drpout' .*did you mean 'dropout'")):
        args = options.parse_args_and_arch(options.get_validation_parser(), [*words, "--model-overrides", overrides])
        with pytest.raises(ConfigError, match=wrong) if wrong else contextlib.nullcontext():
            main(convert_namespace_to_omegaconf(args))


def test_a_checkpoint_in_full_precision_is_scored_quantized(runs, data):
    from fairseq_cli import validate

    runs.trained("run", "--max-epoch", 1)
    runs.trained("int8", "--max-epoch", 1, "--quantization", "int8")
    words = [data, "--path", runs.folder / "run" / "checkpoint_last.pt", "--batch-size", 4, "--num-workers", 0, "--cpu"]

    def loss(*more):
        result = runs.call(validate.cli_main, [*words, *more])
        assert result.code == 0, result.err
        return next(line for line in result.out.splitlines() if " | loss " in line).split(" | loss ")[1].split()[
            0
        ], result.out

    plain, _ = loss()
    assert loss("--quantization", "int16")[0] == plain
    few, out = loss("--quantization", "int8", "--num-bits", 2)
    assert few != plain and "quantizers on 16 batches of 'train'" in out
    assert loss("--quantization", "int8", "--quantization-rules", "[{match: '*', quantize: true, bits: 2}]")[0] != plain
    assert "measuring" not in loss("--quantization", "w4")[1]  # weights alone

    quantized = runs.folder / "int8" / "checkpoint_last.pt"
    result = runs.call(validate.cli_main, [words[0], "--path", quantized, *words[3:], "--quantization", "int4"])
    assert result.code == 0 and "was trained with quantization=int8 and is evaluated so" in result.out
    same = [words[0], "--path", quantized, *words[3:], "--quantization", "int8"]
    assert "is evaluated so" not in runs.call(validate.cli_main, same).out

    from fairseq.dataclass.initialize import compose

    hydra = ["task=sentence_prediction", f"task.data={data}", f"common_eval.path={words[2]}", "dataset.batch_size=4"]
    hydra += ["common.cpu=true", "checkpoint.best_checkpoint_metric=loss", "task.num_classes=2", "quantization=int8"]
    hydra += ["task.init_token=0", "task.separator_token=2", "dataset.num_workers=0", "quantization.num_bits=2"]
    assert f"{hydra_main(compose(overrides=hydra, check=False)):.3f}".rstrip("0") == few
