"""`fairseq-hydra-train -h`: every key, for the components that the config chooses."""

import re
from pathlib import Path

import pytest

from fairseq.dataclass import catalog, schema
from fairseq.dataclass.compose.arguments import parse
from fairseq.dataclass.compose.help import lines
from fairseq.errors import ConfigError

GLUE = str(Path(__file__).resolve().parents[2] / "examples" / "roberta" / "config" / "finetuning")


def text(*argv: str) -> str:
    return "\n".join(lines(parse(["-h", *argv]), "fairseq-hydra-train"))


def section(output: str, title: str) -> str:
    return re.search(rf"^{title}:.*?(?=\n\n|\Z)", output, re.MULTILINE | re.DOTALL).group()


def test_without_a_config_all_groups_and_the_names_of_components():
    output = text()
    for group, dataclass in schema.GROUPS.items():
        for key in schema.keys_of(dataclass):
            assert re.search(rf"^  {key}(\.\w+)? = ", section(output, group), re.MULTILINE), f"{group}.{key}"
    for slot in schema.SLOTS:
        for name in catalog.group(slot):
            assert name in section(output, f"{slot}=NAME")
    assert "usage: fairseq-hydra-train" in output and "--multirun" in output


def test_examples_of_validation_name_a_checkpoint_and_no_training_key():
    output = "\n".join(lines(parse(["-h"]), "fairseq-hydra-validate"))
    examples = section(output, "examples")
    assert examples.count("fairseq-hydra-validate") == examples.count("fairseq-") == 6
    assert "common_eval.path=" in examples and "restore_file" not in examples and "optimization.lr" not in examples


def test_with_a_config_the_keys_of_its_components_with_its_values(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # a worker of pytest-xdist has 80
    output = text("--config-dir", GLUE, "--config-name", "rte", "model.dropout=0.25")
    for key in schema.keys_of(catalog.group("model")["roberta"]):
        assert re.search(rf"^  {key} = ", section(output, "model=roberta"), re.MULTILINE), key
    row = next(line for line in section(output, "model=roberta").splitlines() if line.startswith("  dropout = "))
    assert row.split()[:4] == ["dropout", "=", "0.25", "float"] and row.endswith("(default: 0.1)")
    assert re.search(r"lr = \[2e-05\] +\[float,...\] .*", section(output, "optimization"))
    assert "num_classes = 2" in section(output, "task=sentence_prediction")


def test_narrowing():
    assert text("optimization").strip().splitlines()[0].startswith("optimization:")
    output = text("model=roberta_large")
    assert "encoder_layers = 24" in output and "optimization:" not in output and "usage:" not in output
    with pytest.raises(ConfigError, match="unknown group 'optimisation'; did you mean 'optimization'"):
        text("optimisation")


def test_every_key_is_explained():
    dataclasses = {**schema.GROUPS}
    for slot in schema.SLOTS:
        dataclasses.update({f"{slot}={name}": catalog.group(slot)[name] for name in catalog.BUILTINS[slot]})
    for place, dataclass in dataclasses.items():
        for key, field in schema.keys_of(dataclass).items():
            assert len(schema.help_of(field)) > 4, f"{place}.{key}"


def test_columns_are_aligned_and_lines_fit(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    rows = section(text("--config-dir", GLUE, "--config-name", "rte"), "lr_scheduler=polynomial_decay").splitlines()[1:]
    starts = {row.index(kind) for row in rows for kind in re.findall(r"  (int|float) ", row)[:1]}
    assert len(starts) == 1
    assert all(len(row) <= 100 for row in rows)
