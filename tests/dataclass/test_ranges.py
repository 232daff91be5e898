"""Numbers out of range are refused before anything starts: every number field says which ones it accepts."""

from collections.abc import Iterator
from dataclasses import Field, is_dataclass
from typing import Any, get_args, get_origin

import pytest
from omegaconf import OmegaConf

from fairseq import options
from fairseq.dataclass import catalog, schema
from fairseq.dataclass.groups.preprocess import PreprocessConfig
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.typed import typed_config
from fairseq.errors import ConfigError


def is_number(annotation: Any) -> bool:
    annotation = schema.without_none(annotation)
    inner = get_args(annotation)[0] if get_origin(annotation) in (list, tuple) else annotation
    return inner in (int, float)


def number_fields(dataclass: type, where: str) -> Iterator[tuple[str, Field]]:
    annotations = schema.types_of(dataclass)
    for key, declared in schema.keys_of(dataclass).items():
        inner = schema.without_none(annotations[key])
        if is_dataclass(inner):
            yield from number_fields(inner, f"{where}.{key}")
        elif is_number(inner):
            yield f"{where}.{key}", declared


def all_number_fields() -> dict[str, Field]:
    classes = {**schema.GROUPS, "preprocess": PreprocessConfig}
    classes |= {f"{slot}={name}": catalog.group(slot)[name] for slot in schema.SLOTS for name in catalog.group(slot)}
    return {path: declared for group, dc in classes.items() for path, declared in number_fields(dc, group)}


def test_every_number_field_has_a_range_and_a_default_in_it():
    fields = all_number_fields()
    assert len(fields) > 400
    for path, declared in fields.items():
        within = schema.range_of(declared)
        assert within is not None, f"{path}: give option(...) the numbers that it accepts, within=at_least(0)"
        assert within.problem(schema.default_of(declared)) is None, path
        assert within.problem(float("nan")) and within.problem([1e400]), path


WRONG = [
    ("optimization.lr=[-1e-3]", "optimization.lr must be at least 0, not [-0.001]"),
    ("optimization.lr=[1e-3,inf]", "optimization.lr must be at least 0, not [0.001, inf]"),
    ("optimization.lr=[]", "optimization.lr must be a list of at least one number, not []"),
    ("optimization.update_freq=[0]", "optimization.update_freq must be at least 1, not [0]"),
    ("optimization.clip_norm=nan", "optimization.clip_norm must be at least 0, not nan"),
    ("dataset.batch_size=0", "dataset.batch_size must be at least 1, not 0"),
    ("dataset.batch_size=-4", "dataset.batch_size must be at least 1, not -4"),
    ("dataset.batch_size_valid=-4", "dataset.batch_size_valid must be at least 1, not -4"),
    ("dataset.num_workers=-1", "dataset.num_workers must be at least 0, not -1"),
    ("common.log_interval=0", "common.log_interval must be at least 1, not 0"),
    ("common.seed=-1", "common.seed must be between 0 and 4000000000, not -1"),
    ("checkpoint.patience=-2", "checkpoint.patience must be at least 0, or -1, not -2"),
    ("ema.ema_decay=1.5", "ema.ema_decay must be between 0 and 1, not 1.5"),
    ("quantization.schedule.num_cycles=0", "quantization.schedule.num_cycles must be at least 1, not 0"),
    ("model.dropout=1.5", "model.dropout must be between 0 and 1, not 1.5"),
    ("model.encoder_embed_dim=0", "model.encoder_embed_dim must be at least 1, not 0"),
    ("task.num_classes=0", "task.num_classes must be at least 1, or -1, not 0"),
    ("criterion=label_smoothed_cross_entropy criterion.label_smoothing=2", "criterion.label_smoothing must be between"),
    ("optimizer.adam_betas='(0.9, 1.0)'", "optimizer.adam_betas must be at least 0 and below 1, not (0.9, 1.0)"),
    ("optimizer.weight_decay=-0.1", "optimizer.weight_decay must be at least 0, not -0.1"),
    ("lr_scheduler.warmup_updates=-5", "lr_scheduler.warmup_updates must be at least 0, not -5"),
    ("lr_scheduler.total_num_update=-1", "lr_scheduler.total_num_update must be at least 0, not -1"),
    ("model=transformer_tiny model.decoder_layerdrop=-1", "model.decoder_layerdrop must be between 0 and 1, not -1"),
]


@pytest.mark.parametrize(("words", "line"), WRONG, ids=lambda value: value.partition(" must")[0])
def test_out_of_range(words, line):
    chosen = {
        "task": "sentence_prediction",
        "model": "roberta",
        "optimizer": "adam",
        "lr_scheduler": "polynomial_decay",
    }
    component, _, setting = words.rpartition(" ") if words.startswith(("model=", "criterion=")) else ("", "", words)
    chosen |= dict([component.split("=")] if component else [])
    with pytest.raises(ConfigError) as error:
        compose(overrides=[*(f"{slot}={name}" for slot, name in chosen.items()), setting], check=False)
    assert str(error.value).startswith(line)


def test_a_value_from_the_environment_is_checked_when_it_is_known(monkeypatch):
    monkeypatch.setenv("DROPOUT", "7")
    with pytest.raises(ConfigError, match=r"model\.dropout must be between 0 and 1, not 7"):
        compose(overrides=["model=roberta", "model.dropout=${env:DROPOUT}"], check=False)


def test_special_values_and_bounds_are_accepted():
    words = ["checkpoint.patience=-1", "dataset.num_workers=0", "model=roberta", "model.dropout=1", "task=masked_lm"]
    words += ["optimization.lr=[0]", "common.seed=4000000000", "optimization.stop_min_lr=-1", "dataset.batch_size=null"]
    cfg = compose(overrides=words, check=False)
    assert cfg.model.dropout == 1 and cfg.common.seed == 4000000000


FLAGS = "RTE-bin --task sentence_prediction --arch roberta_base --optimizer adam"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--lr=-1e-3", "argument --lr: must be at least 0, not '-1e-3' (-h lists all flags)"),
        (
            "--max-sentences 0",
            "argument --batch-size/--max-sentences: must be at least 1, not '0' (-h lists all flags)",
        ),
        ("--update-freq 2,0", "argument --update-freq: must be at least 1, not '2,0' (-h lists all flags)"),
        ("--dropout 1.5", "argument --dropout: must be between 0 and 1, not '1.5' (-h lists all flags)"),
    ],
)
def test_flags(flags, line):
    with pytest.raises(ConfigError) as error:
        options.parse_args_and_arch(options.get_training_parser(), [*FLAGS.split(), *flags.split()])
    assert str(error.value) == line


def test_preprocessing_flags():
    with pytest.raises(ConfigError, match="argument --workers: must be at least 1, not '0'"):
        options.get_preprocessing_parser().parse_args(["--workers", "0"])


def test_it_is_said_before_a_job_gets_its_folder():
    """The check that runs in front of the job sees numbers, though interpolations wait for the job."""
    cfg = typed_config({"dataset": {"batch_size": -4}, "model": "roberta", "task": "masked_lm", "optimizer": "adam"})
    OmegaConf.update(cfg, "common.log_file", "${hydra:runtime.output_dir}/log")
    from fairseq.dataclass.finish import check_complete

    with pytest.raises(ConfigError, match=r"dataset\.batch_size must be at least 1"):
        check_complete(cfg)
