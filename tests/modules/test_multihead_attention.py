"""MultiheadAttention against torch's own attention, and what it promises about its submodules and its incremental
state."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq.errors import ConfigError
from fairseq.modules import MatMul, MultiheadAttention

T, S, B, C, H = 5, 7, 3, 12, 4


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def torch_attention(ours: MultiheadAttention, query, key, value, **kwargs):
    """`ours` computed by torch.nn.functional.multi_head_attention_forward."""
    return F.multi_head_attention_forward(
        query,
        key,
        value,
        C,
        H,
        None,
        torch.cat([ours.q_proj.bias, ours.k_proj.bias, ours.v_proj.bias]),
        ours.bias_k,
        ours.bias_v,
        ours.add_zero_attn,
        0.0,
        ours.out_proj.weight,
        ours.out_proj.bias,
        training=ours.training,
        use_separate_proj_weight=True,
        q_proj_weight=ours.q_proj.weight,
        k_proj_weight=ours.k_proj.weight,
        v_proj_weight=ours.v_proj.weight,
        **kwargs,
    )


def padding(batch: int, length: int) -> torch.Tensor:
    mask = torch.zeros(batch, length, dtype=torch.bool)
    mask[1, -2:] = True
    mask[2, -1:] = True
    return mask


def causal(length: int) -> torch.Tensor:
    return torch.triu(torch.full((length, length), float("-inf")), 1)


def randomize(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)


def gradients(output: torch.Tensor, inputs: list, module: nn.Module) -> list:
    return torch.autograd.grad(output.square().sum(), [*inputs, *module.parameters()])


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("masks", ["none", "padding", "causal", "both", "forbidden"])
def test_self_attention_equals_torch(masks, training, need_weights):
    attention = MultiheadAttention(C, H, self_attention=True).train(training)
    randomize(attention)
    x = torch.randn(T, B, C, requires_grad=True)
    attn_mask = {"causal": causal(T), "both": causal(T), "forbidden": torch.triu(torch.ones(T, T), 1).bool()}.get(masks)
    kwargs = {
        "key_padding_mask": padding(B, T) if masks in ("padding", "both") else None,
        "attn_mask": attn_mask,
        "need_weights": need_weights,
    }
    context, weights = attention(x, x, x, **kwargs)
    if masks == "both":
        kwargs["key_padding_mask"] = torch.zeros(B, T).masked_fill(padding(B, T), float("-inf"))
    expected, expected_weights = torch_attention(attention, x, x, x, **kwargs)
    torch.testing.assert_close(context, expected, atol=1e-5, rtol=1e-5)
    assert (weights is None) == (not need_weights)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(gradients(context, [x], attention), gradients(expected, [x], attention), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "extra", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"add_bias_kv": True, "add_zero_attn": True}]
)
def test_attention_to_another_sequence_equals_torch(extra, need_weights):
    attention = MultiheadAttention(C, H, kdim=6, vdim=6, encoder_decoder_attention=True, **extra)
    randomize(attention)
    query, memory = torch.randn(T, B, C, requires_grad=True), torch.randn(S, B, 6, requires_grad=True)
    attn_mask = torch.randn(T, S)
    mask = padding(B, S)
    context, weights = attention(query, memory, memory, mask, need_weights=need_weights, attn_mask=attn_mask)
    float_mask = torch.zeros(B, S).masked_fill(mask, float("-inf"))
    expected, expected_weights = torch_attention(
        attention, query, memory, memory, key_padding_mask=float_mask, attn_mask=attn_mask
    )
    torch.testing.assert_close(context, expected, atol=1e-5, rtol=1e-5)
    if need_weights:
        torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-5)
    inputs = [query, memory]
    for ours, theirs in zip(gradients(context, inputs, attention), gradients(expected, inputs, attention), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_one_kernel_gives_the_same_result_as_the_steps():
    """Evaluation may use a fused kernel; a hook on one of the products makes it go step by step."""
    attention = MultiheadAttention(C, H, self_attention=True).eval()
    x, mask = torch.randn(T, B, C), padding(B, T)
    fused, _ = attention(x, x, x, mask, need_weights=False)
    seen = []
    attention.qk_matmul.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    stepwise, _ = attention(x, x, x, mask, need_weights=False)
    assert seen == [(B * H, T, T)]
    torch.testing.assert_close(fused, stepwise, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_every_product_goes_through_its_submodule(training, need_weights):
    """What stands in the place of a projection or product is called: quantizers there cannot be bypassed."""

    class Doubled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, *args):
            self.calls += 1
            return self.inner(*args)

    attention = MultiheadAttention(C, H, self_attention=True).train(training)
    x = torch.randn(T, B, C)
    expected = attention(x, x, x, need_weights=need_weights)[0]
    names = ("q_proj", "k_proj", "v_proj", "out_proj", "qk_matmul", "pv_matmul")
    for name in names:
        setattr(attention, name, Doubled(getattr(attention, name)))
    torch.testing.assert_close(attention(x, x, x, need_weights=need_weights)[0], expected, atol=1e-6, rtol=1e-6)
    assert [getattr(attention, name).calls for name in names] == [1] * 6


def test_weights_of_heads_and_scores():
    attention = MultiheadAttention(C, H, self_attention=True).eval()
    x, mask = torch.randn(T, B, C), padding(B, T)
    _, heads = attention(x, x, x, mask, need_head_weights=True)
    _, mean = attention(x, x, x, mask)
    assert heads.shape == (H, B, T, T)
    torch.testing.assert_close(heads.mean(0), mean)
    assert (heads[:, mask.unsqueeze(1).expand(B, T, T)] == 0).all()
    scores, values = attention(x, x, x, mask, before_softmax=True)
    torch.testing.assert_close(scores.softmax(-1).view(B, H, T, T).transpose(0, 1), heads)
    torch.testing.assert_close(values, attention.v_proj(x).view(T, B * H, C // H).transpose(0, 1))


def test_dropout_acts_on_probabilities():
    attention = MultiheadAttention(C, H, dropout=0.5, self_attention=True)
    seen = []
    attention.pv_matmul.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(40, B, C)
    _, weights = attention(x, x, x)
    probs = seen[0].view(B, H, 40, 40)
    assert 0.45 < (probs == 0).float().mean() < 0.55
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, 40))  # what is returned is before dropout
    seen.clear()
    attention.eval()(x, x, x)
    assert (seen[0] > 0).all()


def test_a_sentence_of_padding_stays_finite():
    attention = MultiheadAttention(C, H, self_attention=True)
    x = torch.randn(T, B, C, requires_grad=True)
    mask = torch.zeros(B, T, dtype=torch.bool)
    mask[0] = True
    for training in (True, False):
        context = attention.train(training)(x, x, x, mask, need_weights=False)[0]
        assert context.isfinite().all()
        assert torch.autograd.grad(context.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_fp32(dtype):
    attention = MultiheadAttention(C, H, self_attention=True)
    x, mask = torch.randn(T, B, C), padding(B, T)
    expected = attention(x, x, x, mask)[0]
    half = attention.to(dtype)
    for need_weights in (True, False):
        context, weights = half(x.to(dtype), x.to(dtype), x.to(dtype), mask, need_weights=need_weights)
        assert context.dtype == dtype
        torch.testing.assert_close(context.float(), expected, atol=3e-2, rtol=3e-2)
    assert weights is None


class TestIncremental:
    def test_steps_equal_the_whole_with_a_causal_mask(self):
        attention = MultiheadAttention(C, H, self_attention=True).eval()
        x = torch.randn(T, B, C)
        whole, _ = attention(x, x, x, attn_mask=causal(T))
        state: dict = {}
        steps = [attention(x[t : t + 1], None, None, incremental_state=state)[0] for t in range(T)]
        torch.testing.assert_close(torch.cat(steps), whole, atol=1e-6, rtol=1e-5)

    def test_padding_masks_grow_with_the_keys(self):
        """Left padding: the mask of each step is remembered, and a step without one counts as no padding."""
        attention = MultiheadAttention(C, H, self_attention=True).eval()
        x = torch.randn(T, B, C)
        mask = torch.zeros(B, T, dtype=torch.bool)
        mask[1, :2] = True
        whole, _ = attention(x, x, x, mask, attn_mask=causal(T))
        state: dict = {}
        for t in range(T):
            step_mask = mask[:, t : t + 1] if t < 3 else None
            step, _ = attention(x[t : t + 1], None, None, step_mask, incremental_state=state)
            if t >= 2:
                torch.testing.assert_close(step[0], whole[t], atol=1e-6, rtol=1e-5)

    def test_static_keys_are_projected_once(self):
        attention = MultiheadAttention(C, H, encoder_decoder_attention=True).eval()
        calls = []
        attention.k_proj.register_forward_hook(lambda *args: calls.append(1))
        query, memory, mask = torch.randn(2, B, C), torch.randn(S, B, C), padding(B, S)
        whole, _ = attention(query, memory, memory, mask)
        calls.clear()
        state: dict = {}
        steps = [
            attention(query[t : t + 1], memory, memory, mask, incremental_state=state, static_kv=True)[0]
            for t in (0, 1)
        ]
        torch.testing.assert_close(torch.cat(steps), whole, atol=1e-6, rtol=1e-5)
        assert len(calls) == 1

    def test_reorder(self):
        attention = MultiheadAttention(C, H, self_attention=True).eval()
        x, order = torch.randn(2, B, C), torch.tensor([2, 0, 0])
        state: dict = {}
        attention(x[:1], None, None, incremental_state=state)
        attention.reorder_incremental_state(state, order)
        step, _ = attention(x[1:, order], None, None, incremental_state=state)
        whole, _ = attention(x[:, order], None, None, attn_mask=causal(2))
        torch.testing.assert_close(step[0], whole[1], atol=1e-6, rtol=1e-5)
        (entry,) = state.values()
        assert set(entry) == {"prev_key", "prev_value", "prev_key_padding_mask"}
        assert entry["prev_key"].shape == (B, H, 2, C // H)


def test_old_checkpoints_have_one_input_projection():
    attention = MultiheadAttention(C, H, self_attention=True)
    state = {f"a.{name}": value for name, value in attention.state_dict().items()}
    for kind in ("weight", "bias"):
        state[f"a.in_proj_{kind}"] = torch.cat([state.pop(f"a.{part}_proj.{kind}") for part in "qkv"])
    attention.upgrade_state_dict_named(state, "a")
    other = MultiheadAttention(C, H, self_attention=True)
    other.load_state_dict({name.removeprefix("a."): value for name, value in state.items()})
    assert torch.equal(other.k_proj.weight, attention.k_proj.weight)


def test_what_cannot_be_built():
    with pytest.raises(ConfigError, match="does not divide"):
        MultiheadAttention(10, 4)
    with pytest.raises(ConfigError, match="one width"):
        MultiheadAttention(8, 4, kdim=6, self_attention=True)
    with pytest.raises(ValueError, match="keys and values"):
        MultiheadAttention(8, 4)(torch.zeros(1, 1, 8), None, None)


def test_matmul_is_a_module_of_its_own():
    a, b = torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    assert torch.equal(MatMul()(a, b), a @ b)
    assert {name for name, _ in MultiheadAttention(C, H).named_children()} >= {"qk_matmul", "pv_matmul"}
