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
