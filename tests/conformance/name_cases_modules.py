"""Cases: small modules, with weights that are the same on both sides."""

import torch
from name_case_tools import case, plain, raised, seeded
from torch import nn


def numbers(*shape, step=0.37):
    count = 1
    for size in shape:
        count *= size
    return torch.sin(torch.arange(count, dtype=torch.float32) * step).view(*shape)


def with_gradients(module, *inputs, **named):
    """What a module returns, the gradients of inputs and weights, and the names of its weights."""
    inputs = [x.requires_grad_() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]
    output = module(*inputs, **named)
    first = output[0] if isinstance(output, tuple) else output
    (first.float() * numbers(*first.shape, step=0.11)).sum().backward()
    names = {name: list(value.shape) for name, value in module.state_dict().items()}
    gradients = {name: weight.grad for name, weight in module.named_parameters()}
    inputs = [x.grad for x in inputs if torch.is_tensor(x) and x.is_floating_point()]
    output = [str(first.dtype), output]
    return plain({"output": output, "names": names, "gradients": gradients, "inputs": inputs})


@case
def scalar_bias_in_front():
    from fairseq.modules import ScalarBias
    from fairseq.modules.scalar_bias import scalar_bias

    x = numbers(2, 3, 2).requires_grad_()
    output = ScalarBias.apply(x, 1, 0.5)
    (output * numbers(*output.shape)).sum().backward()
    return plain([output, x.grad, scalar_bias(numbers(2, 2), 0), scalar_bias(numbers(2, 2), 1, -1.0)])


@case
def windows_over_time():
    from fairseq.modules import unfold1d

    x = numbers(4, 2, 3)
    return plain([unfold1d(x, 3, 2), unfold1d(x, 3, 1, 9.0), unfold1d(x, 1, 0), unfold1d(x, 2, 0)])


@case
def same_padding():
    from fairseq.modules import SamePad, SamePad2d

    x, image = numbers(1, 2, 5), numbers(1, 1, 4, 3)
    return plain([SamePad(2)(x), SamePad(3)(x), SamePad(3, causal=True)(x), SamePad2d(2)(image), SamePad2d(3)(image)])


@case
def last_dimensions_transposed():
    from fairseq.modules import TransposeLast

    return plain([TransposeLast()(numbers(1, 2, 3)), TransposeLast(0)((numbers(1, 2, 3), 5))])


@case
def beamable_products():
    from fairseq.modules import BeamableMM

    first = numbers(4, 1, 3)
    second = numbers(2, 3, 2).repeat_interleave(2, 0)
    mm = BeamableMM(2)
    out = [mm(first, second)]
    mm.eval()
    out.append(mm(first, second))
    mm.set_beam_size(None)
    out.append(mm(first, second))
    return plain([*out, BeamableMM().eval()(numbers(2, 2, 3), numbers(2, 3, 2))])


@case
def conv_over_time():
    from fairseq.modules import ConvTBC

    conv = seeded(ConvTBC(3, 2, kernel_size=3, padding=1))
    return [with_gradients(conv, numbers(4, 2, 3)), repr(conv), plain([conv.kernel_size, conv.padding])]


@case
def conv_linearized():
    from fairseq.modules import LinearizedConvolution

    conv = seeded(LinearizedConvolution(3, 2, kernel_size=3, padding=2))
    x = numbers(5, 2, 3)
    out = [with_gradients(conv, x)]
    conv.eval()
    state = {}
    with torch.no_grad():
        out.append(plain([conv(x[t : t + 1].transpose(0, 1), incremental_state=state) for t in range(3)]))
        conv.reorder_incremental_state(state, torch.tensor([1, 0]))
        out.append(plain(conv(x[3:4].transpose(0, 1), incremental_state=state)))
    return out


@case
def conv_lightweight():
    from fairseq.modules import LightweightConv1dTBC

    out = []
    for softmax, bias in ((False, True), (True, False)):
        conv = LightweightConv1dTBC(4, 3, padding_l=2, num_heads=2, weight_softmax=softmax, bias=bias)
        out.append(with_gradients(seeded(conv, 0.5), numbers(5, 2, 4)))
    return [*out, with_gradients(seeded(LightweightConv1dTBC(4, 3, padding_l=1, num_heads=4)), numbers(2, 2, 4))]


@case
def conv_lightweight_step_by_step():
    from fairseq.modules import LightweightConv

    conv = seeded(LightweightConv(4, 3, padding_l=2, num_heads=2, weight_softmax=True), 0.5).eval()
    state, x = {}, numbers(5, 2, 4)
    with torch.no_grad():
        out = [conv(x[t : t + 1], incremental_state=state) for t in range(3)]
        conv.reorder_incremental_state(state, torch.tensor([1, 0]))
        return plain([*out, conv(x[3:4], incremental_state=state), conv(x)])


@case
def conv_lightweight_channels_first():
    from fairseq.modules.lightweight_convolution import LightweightConv1d

    conv = LightweightConv1d(4, 3, padding=1, num_heads=2, weight_softmax=True, bias=True)
    return with_gradients(seeded(conv), numbers(2, 4, 5))


@case
def conv_dynamic():
    from fairseq.modules import DynamicConv1dTBC

    out = []
    for options in (
        {"weight_softmax": True},
        {"weight_softmax": True, "renorm_padding": True, "bias": True, "conv_bias": True},
        {"weight_softmax": False, "in_proj": True},
    ):
        conv = DynamicConv1dTBC(4, 3, padding_l=2, num_heads=2, **options)
        out.append(with_gradients(seeded(conv, 0.5), numbers(5, 2, 4)))
    conv = seeded(DynamicConv1dTBC(4, 3, padding_l=1, num_heads=2, query_size=6, weight_softmax=True), 0.5)
    return [*out, with_gradients(conv, numbers(5, 2, 4), query=numbers(5, 2, 6))]


@case
def conv_dynamic_step_by_step():
    from fairseq.modules import DynamicConv

    conv = DynamicConv(4, 3, padding_l=2, num_heads=2, weight_softmax=True)
    conv = seeded(conv, 0.5).eval()
    state, x = {}, numbers(5, 2, 4)
    with torch.no_grad():
        out = [conv(x[t : t + 1], incremental_state=state) for t in range(3)]
        conv.reorder_incremental_state(state, torch.tensor([1, 0]))
        return plain([*out, conv(x[3:4], incremental_state=state), conv(x)])


@case
def conv_dynamic_step_by_step_without_padding():
    from fairseq.modules import DynamicConv1dTBC

    conv = DynamicConv1dTBC(4, 3, padding_l=2, num_heads=2, weight_softmax=True, renorm_padding=True)
    conv = seeded(conv, 0.5).eval()
    state, x = {}, numbers(5, 2, 4)
    with torch.no_grad():
        return plain([*(conv(x[t : t + 1], incremental_state=state) for t in range(4)), conv(x)])


@case
def lstm_cell_with_zoneout():
    from fairseq.modules import LSTMCellWithZoneOut

    cell = seeded(LSTMCellWithZoneOut(0.3, 3, 2)).eval()
    h = (numbers(2, 2), numbers(2, 2, step=0.5))
    out = [with_gradients(cell, numbers(2, 3), h)]
    cell.train()
    torch.manual_seed(1)
    return [*out, plain(cell(numbers(2, 3), h)), raised(lambda: LSTMCellWithZoneOut(1.5, 3, 2))]


@case
def norms_in_fp32():
    from fairseq.modules import Fp32BatchNorm, Fp32GroupNorm, Fp32InstanceNorm, Fp32LayerNorm

    x = numbers(3, 4, 5)
    layers = [
        seeded(Fp32BatchNorm(False, 4)),
        seeded(Fp32GroupNorm(2, 4)),
        seeded(Fp32InstanceNorm(4, affine=True)),
        seeded(Fp32LayerNorm(5)),
    ]
    out = [with_gradients(layer, x.clone()) for layer in layers]
    return [*out, *(str(layer(x.half()).dtype) for layer in layers)]


@case
def loss_of_logits():
    from fairseq.modules import cross_entropy

    function = getattr(cross_entropy, "cross_entropy", cross_entropy)
    logits, target = numbers(4, 5), torch.tensor([0, 3, 1, 4])
    return plain(
        [
            function(logits, target),
            function(logits, target, ignore_index=3, reduction="sum"),
            function(logits, target, ignore_index=3, reduction="none"),
            str(function(logits.half(), target).dtype),
        ]
    )


@case
def rotary_positions():
    from fairseq.modules import RotaryPositionalEmbedding
    from fairseq.modules.rotary_positional_embedding import apply_rotary_pos_emb, rotate_half

    rotary = RotaryPositionalEmbedding(4)
    cos, sin = rotary(numbers(3, 2, 1, 4), seq_len=5)
    q, k = numbers(3, 2, 1, 4), numbers(3, 2, 1, 4, step=0.2)
    return plain(
        [
            rotary.inv_freq,
            cos,
            sin,
            rotate_half(q),
            apply_rotary_pos_emb(q, k, cos, sin, offset=2),
            apply_rotary_pos_emb(q, k, cos[:3], sin[:3]),
        ]
    )


@case
def relative_positions():
    from fairseq.modules import RelPositionalEncoding
    from fairseq.modules.positional_encoding import PositionalEncoding

    relative = RelPositionalEncoding(3, 4)
    return plain(
        [
            relative(numbers(3, 2, 4)),
            relative(numbers(2, 2, 4)),
            relative(numbers(5, 2, 4)),
            PositionalEncoding(4, 0.0)(numbers(2, 3, 4)),
            PositionalEncoding(4, 0.0, max_len=2)(numbers(2, 3, 4)),
        ]
    )


@case
def attention_with_relative_positions():
    from fairseq.modules import RelPositionalEncoding, RelPositionMultiHeadedAttention

    x, padding = numbers(4, 2, 8), torch.tensor([[False] * 4, [False, False, False, True]])
    positions = RelPositionalEncoding(10, 8)(x)
    out = []
    for zero_triu in (False, True):
        attention = seeded(RelPositionMultiHeadedAttention(8, 2, 0.0, zero_triu=zero_triu), 0.5)
        out.append(with_gradients(attention, x.clone(), x.clone(), x.clone(), positions, padding))
    return out


@case
def attention_with_rotary_positions():
    from fairseq.modules import RotaryPositionMultiHeadedAttention

    x = numbers(4, 2, 8)
    attention = seeded(RotaryPositionMultiHeadedAttention(8, 2, 0.0, precision=None), 0.5)
    return with_gradients(attention, x.clone(), x.clone(), x.clone())


@case
def attention_as_in_espnet():
    from fairseq.modules import ESPNETMultiHeadedAttention

    x = numbers(4, 2, 8)
    return with_gradients(seeded(ESPNETMultiHeadedAttention(8, 2, 0.0), 0.5), x.clone(), x.clone(), x.clone())


@case
def attention_by_location():
    from fairseq.modules import LocationAttention

    attention = seeded(LocationAttention(4, 5, 6, 2, 3, 1), 0.5)
    padding = torch.tensor([[False] * 4, [False, False, True, True]])
    out = [with_gradients(attention, numbers(2, 4, 5), padding, numbers(2, 6), numbers(2, 2, 4))]
    attention.clear_cache()
    return [*out, plain(attention(numbers(2, 4, 5), padding, None, numbers(2, 2, 4)))]


@case
def average_of_a_module():
    from fairseq.modules import EMAModule, EMAModuleConfig

    out = []
    for half, options in ((False, {}), (True, {"ema_fp32": True})):
        model = seeded(nn.Linear(2, 2))
        model = model.half() if half else model
        ema = EMAModule(model, EMAModuleConfig(ema_decay=0.9, **options))
        for decay in (0.9, 0.9, 0.5):
            with torch.no_grad():
                for weight in model.parameters():
                    weight.add_(1.0)
            ema.set_decay(decay)
            ema.step(model)
        fp32 = {name: [str(value.dtype), value] for name, value in ema.fp32_params.items()}
        out.append([ema.model.state_dict(), fp32, ema.get_decay(), ema.reverse(model) is model, model.state_dict()])
    return plain(out)


@case
def average_of_a_module_skipping_keys():
    from fairseq.modules import EMAModule, EMAModuleConfig

    model = seeded(nn.Linear(2, 2))
    ema = EMAModule(model, EMAModuleConfig(ema_decay=0.5), skip_keys={"bias"})
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    ema.step(model)
    ema.restore(ema.model.state_dict())
    return plain(ema.model.state_dict())


# ---- activation checkpointing


@case
def checkpoint_wrapped():
    from fairseq.modules.checkpoint_activations import checkpoint_wrapper, unwrap_checkpoint

    out = []
    for offload in (False, True):
        layer = seeded(nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
        wrapped = checkpoint_wrapper(layer, offload_to_cpu=offload)
        out.append([wrapped is layer, with_gradients(wrapped, numbers(2, 3)), hasattr(layer, "precheckpoint_forward")])
        unwrap_checkpoint(layer)
        out.append([hasattr(layer, "precheckpoint_forward"), plain(layer(numbers(2, 3)))])
    return out


@case
def checkpoint_packing():
    from fairseq.modules.checkpoint_activations import (
        pack_kwargs,
        split_non_tensors,
        unpack_kwargs,
        unpack_non_tensors,
    )

    mixed = (numbers(2), 3, "x", numbers(1), None)
    return plain(
        [
            pack_kwargs(1, 2, a=3, b=4),
            unpack_kwargs(["a", "b"], [1, 2, 3, 4]),
            unpack_kwargs([], [1, 2]),
            split_non_tensors(mixed),
            split_non_tensors(numbers(2)),
            unpack_non_tensors(*split_non_tensors(mixed)),
            unpack_non_tensors((numbers(2),), None),
        ]
    )


# ---- before inference


@case
def weight_norm_removed_before_generation():
    from fairseq.models import BaseFairseqModel

    class Model(BaseFairseqModel):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.utils.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2))

        def forward(self, x):
            return self.inner(x)

    model = seeded(Model())
    before = sorted(model.state_dict())
    output = model(numbers(1, 2))
    model.make_generation_fast_()
    same = torch.allclose(output, model(numbers(1, 2)))
    model.make_generation_fast_()
    return [before, sorted(model.state_dict()), same, model.training, raised(lambda: model.train())]


@case
def generation_fast_reaches_submodules():
    from fairseq.models import BaseFairseqModel

    calls = []

    class Part(nn.Module):
        def make_generation_fast_(self, **kwargs):
            calls.append(sorted(kwargs.items()))

        def prepare_for_onnx_export_(self, **kwargs):
            calls.append(["export", sorted(kwargs.items())])

    class Model(BaseFairseqModel):
        def __init__(self):
            super().__init__()
            self.a, self.b = Part(), nn.Sequential(Part())

    model = Model()
    model.make_generation_fast_(beamable_mm_beam_size=None, need_attn=True)
    model.prepare_for_onnx_export_(opset=3)
    return plain(calls)
