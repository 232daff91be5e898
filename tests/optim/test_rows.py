"""Row gradients give the update of dense ones, and nothing of it needs to be saved."""

import pytest
import torch
from torch import nn

from fairseq.optim.adam import Adam
from fairseq.optim.rows import MIN_ROWS, use_row_gradients
from fairseq.utils import clip_grad_norm_

ROWS, WIDTH = MIN_ROWS + 100, 8


def tables():
    torch.manual_seed(1)
    dense = nn.Embedding(ROWS, WIDTH, padding_idx=1)
    row = nn.Embedding(ROWS, WIDTH, padding_idx=1)
    row.load_state_dict(dense.state_dict())
    assert use_row_gradients(row) == 1
    return dense, row


def batches(count, size, rows=ROWS):
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, rows, (size,), generator=generator) for _ in range(count)]


def step(table, optimizer, micro_batches, clip=0.5):
    for tokens in micro_batches:
        (table(tokens) * torch.linspace(-1, 1, WIDTH)).pow(3).sum().backward()
    norm = clip_grad_norm_([table.weight], clip)
    optimizer.step()
    table.weight.grad = None
    return norm


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("size", [20, 3000], ids=["few rows", "most rows"])
@pytest.mark.parametrize("fused", [True, False])
def test_the_same_update(weight_decay, size, fused):
    dense, row = tables()
    options = {"lr": 0.01, "weight_decay": weight_decay, "fused": fused}
    one, two = Adam(dense.parameters(), **options), Adam(row.parameters(), **options)
    words = batches(8, size)
    for pair in zip(words[::2], words[1::2], strict=True):  # two micro-batches an update
        torch.testing.assert_close(step(row, two, pair), step(dense, one, pair))
    torch.testing.assert_close(row.weight, dense.weight, atol=1e-6, rtol=0)
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(two.state[row.weight][name], one.state[dense.weight][name], atol=1e-7, rtol=1e-5)


def test_the_gradient_holds_only_rows_of_the_batch():
    _, row = tables()
    row(torch.tensor([1, 5, 5, 9])).sum().backward()
    assert row.weight.grad.is_sparse
    assert row.weight.grad.coalesce().indices().tolist() == [[5, 9]]  # 1 is padding


def test_resumed_from_the_saved_state_bit_for_bit():
    _, whole = tables()
    _, parts = tables()
    words = batches(6, 30)
    optimizer = Adam(whole.parameters(), lr=0.01, weight_decay=0.1)
    for tokens in words:
        step(whole, optimizer, [tokens])
    first = Adam(parts.parameters(), lr=0.01, weight_decay=0.1)
    for tokens in words[:3]:
        step(parts, first, [tokens])
    second = Adam(parts.parameters(), lr=0.01, weight_decay=0.1)
    second.load_state_dict(first.state_dict())
    for tokens in words[3:]:
        step(parts, second, [tokens])
    assert torch.equal(whole.weight, parts.weight)


def test_a_table_that_is_also_the_output_layer():
    """Autograd adds the output layer's dense gradient; the next row gradient starts from what that one touched."""
    dense, row = tables()
    one, two = (Adam(table.parameters(), lr=0.01, weight_decay=0.1) for table in (dense, row))
    tokens = batches(3, 10)
    for table, optimizer in ((dense, one), (row, two)):
        step(table, optimizer, tokens[:1])
        (table(tokens[1]) @ table.weight.T).logsumexp(-1).sum().backward()
        optimizer.step()
        table.weight.grad = None
        step(table, optimizer, tokens[2:])
    torch.testing.assert_close(row.weight, dense.weight, atol=1e-6, rtol=0)


def test_small_and_frozen_tables_stay_dense():
    assert use_row_gradients(nn.Embedding(MIN_ROWS - 1, 2)) == 0
    frozen = nn.Embedding(ROWS, 2)
    frozen.weight.requires_grad_(False)
    assert use_row_gradients(frozen) == 0
