"""FPGA layers that are no number formats are refused by name, with the reason."""

import sys

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization import build_format, fake_quantize, quantize_model
from fairseq.quantization.formats import FORMATS
from fairseq.quantization.formats.refused import REASONS, refusal
from fairseq_cli.formats import cli_main


@pytest.mark.parametrize("name", ["LUTNet", "lut_net", "LogicNets", "LOGIC_NETS", "MXIntHardware", "mx_int-hardware"])
def test_they_are_refused_wherever_a_format_is_named(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = (
        lambda: build_format(name),
        lambda: build_format({"format": name, "width": 8}),
        lambda: fake_quantize(torch.ones(2), name),
        lambda: FORMATS.lookup(name),
        lambda: quantize_model(nn.Sequential(nn.Linear(2, 2)), "int8", rules=[{"match": "*", "format": name}]),
        lambda: quantize_model(nn.Sequential(nn.Linear(2, 2)), name),
    )
    for call in calls:
        with pytest.raises(ConfigError, match="not a number format") as error:
            call()
        assert name in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setattr(sys, "argv", ["fairseq-formats", "values", name])
    with pytest.raises(SystemExit) as stop:
        cli_main()
    assert stop.value.code == ConfigError.exit_code
    assert "not a number format" in capsys.readouterr().err


def test_no_format_is_refused() -> None:
    assert not [name for name in FORMATS.names() if refusal(name)] and all(refusal(name) for name in REASONS)
