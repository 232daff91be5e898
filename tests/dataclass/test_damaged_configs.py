"""YAML of another shape or encoding, and settings of other kinds: one line that names the file or the key."""

import pytest

from fairseq.dataclass.initialize import compose
from fairseq.dataclass.typed import typed_config
from fairseq.errors import ConfigError
from fairseq.quantization.plan.config import read_config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"common: {seed: \xff}\n", r"not UTF-8 \(byte 15\)"),
        (b"\xff\xfe", r"not UTF-8"),
        (b"defaults: [1]\n", "defaults list: Unsupported type in defaults : int"),
        (b"defaults: [{model: 1.5}]\n", "defaults list"),
        (b"# @package _group_ _group_\ncommon: {seed: 1}\n", "Too many components"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b"a: &a [x, x, x, x, x, x, x, x, x, x]\n"
         + b"".join(b"%c: &%c [%s]\n" % (i, i, b", ".join([b"*%c" % (i - 1)] * 10)) for i in range(98, 108)),
         "aliases unfold to more than 100,000 values"),
        (b"common: {seed: !!python/object:os.system x}\n", "could not determine a constructor"),
    ],
    ids=["byte", "utf-16", "defaults", "choice", "header", "deep", "aliases", "tag"],
)  # fmt: skip
def test_yaml(text, message, tmp_path):
    (tmp_path / "base.yaml").write_bytes(text)
    with pytest.raises(ConfigError, match=message) as error:
        compose("base", tmp_path, check=False)
    assert "base.yaml" in str(error.value) and "\n" not in str(error.value)


def test_aliases_that_a_config_may_have(tmp_path):
    (tmp_path / "base.yaml").write_text("common: &c {seed: 3}\ncheckpoint: {save_dir: 'a*b&c'}\nema: {ema_seed: *x}\n")
    (tmp_path / "base.yaml").write_text("dataset: {train_subset: &s train, valid_subset: *s}\n")
    assert compose("base", tmp_path, check=False).dataset.valid_subset == "train"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_bits": "8"}, "quantization.num_bits: must be a whole number or null, got '8'"),
        ({"eval_bits": True}, "quantization.eval_bits: must be a whole number"),
        ({"fused": "yes"}, "quantization.fused: must be true or false"),
        ({"rules": 3}, "quantization.rules: needs a list of rules"),
        ({"rules": "abc"}, "quantization.rules: needs a list of rules"),
        ({"rules": {"match": "*"}}, "quantization.rules: needs a list of rules"),
        ({"rules": [{"match": "*", "bits": [4]}]}, r"rule '\*'.bits: must be a whole number or text or null"),
        ({"rules": [{"match": "*", "format": 3}]}, r"quantization rule '\*'.format: must be text"),
        ({"schedule": 3}, "quantization.schedule: needs a name"),
        ({"schedule": {"min_bits": "x"}}, "quantization.schedule.min_bits: must be a whole number"),
        ({"schedule": {"options": [1]}}, "quantization.schedule.options: needs a mapping"),
        ({"num_bits": 10**5000}, "quantization.num_bits"),
    ],
)
def test_settings_of_a_quantization(settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        read_config({"preset": "cpt_4_8", **settings})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["\\ud800", "9" * 5000])
def test_a_choice_that_no_file_can_be_called(name, tmp_path):
    (tmp_path / "base.yaml").write_text(f'defaults:\n  - model: "{name}"\n')
    with pytest.raises(ConfigError, match="is no name of a config") as error:
        compose("base", tmp_path)
    assert len(str(error.value)) < 500


def test_a_component_whose_name_became_a_number():
    with pytest.raises(ConfigError, match=r"model has keys \(dropout, 3\) but no _name"):
        typed_config({"model": {"dropout": 0.1, 3: "roberta"}})
