"""What training has cost in bit operations: the last line of a run's history."""

import torch

from fairseq.logging.history import read_history


def cost(runs, name, *flags):
    runs.trained(name, "--max-update", "6", *flags)
    last = read_history(runs.folder / name)[-1]
    assert last["tag"] == "done"
    return last


def test_full_precision(runs):
    """The same products are counted with and without quantizers."""
    counted = cost(runs, "counted", "--count-bitops")
    assert counted["bitops"] == counted["product_bitops"] == counted["full_precision_bitops"] > 0
    assert counted["quantizing_bitops"] == 0
    quantized = cost(runs, "int8", "--quantization", "int8")
    assert quantized["full_precision_bitops"] == counted["full_precision_bitops"]
    assert quantized["product_bitops"] < 0.1 * counted["bitops"]
    assert quantized["bitops"] == quantized["product_bitops"] + quantized["quantizing_bitops"]


def test_counting_changes_no_number(runs):
    cost(runs, "counted", "--count-bitops")
    assert "bitops" not in cost(runs, "plain")
    runs.assert_same_run("counted", "plain")


def test_a_resumed_run_counts_on(runs):
    whole = cost(runs, "whole", "--count-bitops")
    runs.trained("parts", "--max-update", "3", "--count-bitops")
    assert cost(runs, "parts", "--count-bitops") == whole


def test_unknown_where_a_part_was_not_counted(runs):
    runs.trained("parts", "--max-update", "3", "--quantization", "int8")
    path = runs.folder / "parts/checkpoint_last.pt"
    state = torch.load(path, weights_only=False)
    del state["quantization"]["cost"]["total"]["reference"]  # as older builds write it
    torch.save(state, path)
    last = cost(runs, "parts", "--quantization", "int8")
    assert last["bitops"] > 0
    assert last["full_precision_bitops"] is None
