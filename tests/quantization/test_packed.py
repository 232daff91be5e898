"""Packed weights: the bits of the quantizer's own rounding, at every width; and models that keep nothing else."""

import copy
import pickle

import pytest
import torch
from torch import nn

from fairseq.errors import CheckpointError, ConfigError, DataError, TrainingError
from fairseq.quantization import quantize_model
from fairseq.quantization.integer_weights import (
    keep_integer_weights,
    pack_weights,
    parameter_bytes,
    restore_float_weights,
)
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import WEIGHT, QuantizationContext, Quantizer, QuantizerSpec

GRANULARITIES = ("tensor", "channel", "channel:1", "token", "group:4", "group:5", "group:100")


@pytest.mark.parametrize("number_format", ["symmetric", "affine", "affine_float_zp"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("num_bits", [2, 3, 4, 5, 6, 7, 8, 9, 12, 16])
def test_bit_for_bit(number_format, granularity, num_bits):
    spec = QuantizerSpec(format=number_format, granularity=granularity)
    quantizer = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(6, 13))
    weight = torch.randn(6, 13) * torch.logspace(-20, 20, 6)[:, None]
    weight[2] = 0
    packed = pack_weight(quantizer, weight, num_bits)
    assert torch.equal(packed.values(), quantizer.fake(weight, num_bits))
    assert packed.data.nbytes == 6 * -(-13 * num_bits // 8)
    rows = torch.tensor([5, 0, 0, 2])
    assert torch.equal(packed.rows(rows).values(), packed.values()[rows])


@pytest.mark.parametrize("learned", ["scale", "clip"])
@pytest.mark.parametrize("number_format", ["symmetric", "affine"])
def test_learned_grids(learned, number_format):
    spec = QuantizerSpec(format=number_format, granularity="channel", learned=learned)
    quantizer = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(4, 6), calibration_bits=4).eval()
    weight = torch.randn(4, 6)
    value = quantizer(weight, 4).value
    assert torch.equal(pack_weight(quantizer, weight, 4).values(), value)


def test_layout_of_the_bytes():
    """What files hold: changing it would make them unreadable."""
    quantizer = Quantizer("w", WEIGHT, QuantizerSpec(format="symmetric"), QuantizationContext())
    weight = torch.tensor([[-1.0, 0.0, 1.0, 0.0, 1.0]])
    assert pack_weight(quantizer, weight, 2).data.tolist() == [[1 | 3 << 2 | 3 << 4, 2 | 2 << 2]]
    weight = torch.tensor([[-7.0, 0.0, 7.0]])
    assert pack_weight(quantizer, weight, 4).data.tolist() == [[1 | 15 << 4, 8]]
    assert pack_weight(quantizer, weight, 8).data.tolist() == [[1, 128, 255]]
    assert pack_weight(quantizer, weight, 16).data.tolist() == [[1, -32768, -1]]
    # nine codes of 6 bits, from -31 as 1: lower 4 bits two to the byte, upper 2 bits four to the byte, the ninth code
    weight = torch.arange(-4.0, 5.0)[None] * 31 / 4
    codes = [1, 9, 16, 24, 32, 40, 48, 55, 63]
    low = [codes[i] & 15 | (codes[i + 4] & 15) << 4 for i in range(4)]
    high = [codes[i] >> 4 | codes[i + 2] >> 4 << 2 | codes[i + 4] >> 4 << 4 | codes[i + 6] >> 4 << 6 for i in range(2)]
    assert pack_weight(quantizer, weight, 6).data.tolist() == [[*low, *high, 63]]
    # three codes of 12 bits, from -2047 as 1: lower 8 bits, then upper 4
    weight = torch.tensor([[-2047.0, 0.0, 2047.0]])
    assert pack_weight(quantizer, weight, 12).data.tolist() == [[1, 0, 255, 0 | 15 << 4, 8]]
    # of 3 bits fewer than eight codes are one number, from -3 as 1
    weight = torch.tensor([[-3.0, 0.0, 3.0]])
    assert pack_weight(quantizer, weight, 3).data.tolist() == [[(1 | 4 << 3 | 7 << 6) & 255, (7 << 6) >> 8]]


# --- models that keep codes only --------------------------------------------------------------------------------------


@pytest.mark.parametrize("compute", ["simulate", "integer"])
@pytest.mark.parametrize("preset", ["int8", "int4", "int16", "cpt_4_8", "ffn4_mha16"])
def test_same_scores_from_codes(transformer, tokens, preset, compute):
    model = quantize_model(transformer, preset, compute=compute)
    for _ in range(2):
        model(tokens)
    model.eval()
    expected, before = model(tokens), parameter_bytes(model)
    floats = {key: value.clone() for key, value in model.state_dict().items()}
    packed, shared = pack_weights(model)
    assert not shared and "layers.0.fc1.weight" in packed and "classification_heads.weight" not in packed

    clone = copy.deepcopy(model)
    assert keep_integer_weights(model) is model
    for _ in range(2):
        assert torch.equal(model(tokens), expected)
    assert not [name for name, _ in model.named_parameters() if name.endswith("proj.weight")]
    weights = sum(4 * codes.shape[0] * codes.shape[1] for codes in packed.values())
    bound = {"int16": 0.55, "ffn4_mha16": 0.55, "int4": 0.35 if compute == "integer" else 0.25}.get(preset, 0.35)
    scales = sum(codes.num_bytes - codes.data.nbytes for codes in packed.values())
    assert parameter_bytes(model) - scales <= before - weights + bound * weights

    # the same from a copy, from a pickle, and after a move
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.to("cpu")):
        assert torch.equal(other(tokens), expected)
    # the state dict has the usual keys, with what the codes stand for
    state = model.state_dict()
    assert sorted(state) == sorted(floats)
    for key, value in state.items():
        assert torch.equal(value, packed[key].values() if key in packed else floats[key])
    # codes that were made before, put into a model with the rounded weights
    clone.load_state_dict(state, strict=True)
    keep_integer_weights(clone, packed)
    assert sum(isinstance(module, QuantizedWeight) for module in clone.modules()) == len(packed)


def test_what_integer_weights_cannot_do(transformer, tokens):
    model = quantize_model(transformer, "int8")
    model(tokens)
    keep_integer_weights(model.eval())
    with pytest.raises(ConfigError, match=r"q_proj: its weight is kept in 8 bits, and the call asks for 4"):
        model(tokens, num_bits=4)
    with pytest.raises(ConfigError, match="asks for full precision"):
        model(tokens, num_bits=0)
    with pytest.raises(ConfigError, match="restore_float_weights"):
        model.load_state_dict(model.state_dict())
    with pytest.raises(TrainingError, match="cannot be trained"):
        model.train()(tokens)
    values = {key: value.clone() for key, value in model.state_dict().items()}
    restore_float_weights(model)
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())
    model(tokens).sum().backward()
    assert model.layers[0].fc1.weight.grad is not None
    model.load_state_dict(values)
    # quantizing anew, or not at all, starts from the values
    keep_integer_weights(model.eval())
    again = quantize_model(model, "none")
    assert torch.equal(again.layers[0].fc1.weight, values["layers.0.fc1.weight"])


def test_half_precision_models(transformer, tokens):
    model = quantize_model(transformer, "int8", rules=[{"match": "embed.weight", "granularity": "token", "bits": 4}])
    model(tokens)
    expected = copy.deepcopy(model).eval().bfloat16()(tokens)
    keep_integer_weights(model.eval()).bfloat16()
    found = model(tokens)
    assert found.dtype == torch.bfloat16  # scales stay in fp32: the codes are those of the fp32 weights
    assert (found - expected).abs().max() < 0.1
    assert model.state_dict()["layers.0.fc1.weight"].dtype == torch.bfloat16


def test_tables(tokens):
    rules = [{"match": "embed.weight", "granularity": "group:8", "bits": 3, "format": "affine_float_zp"}]
    from tests.quantization.conftest import Transformer

    model = quantize_model(Transformer(), "int8", rules=rules)
    model(tokens)
    expected = model.eval()(tokens)
    keep_integer_weights(model)
    assert "embed.weight" not in dict(model.named_parameters()) and torch.equal(model(tokens), expected)


def test_shared_weights_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model = quantize_model(model, "int8")
    x = torch.randn(2, 4)
    model(x)
    expected = model.eval()(x)
    packed, shared = pack_weights(model)
    assert list(packed) == ["2.weight"] and shared == ["0.weight", "1.weight"]
    assert torch.equal(keep_integer_weights(model)(x), expected)


def test_codes_of_another_model(transformer, tokens):
    model = quantize_model(transformer, "int8")
    model(tokens)
    packed, _ = pack_weights(model.eval())
    with pytest.raises(CheckpointError, match=r"weight layers.0.*q_proj.weight is not the one that was packed"):
        keep_integer_weights(model, packed)  # its weights are not the codes' values
    other = quantize_model(copy.deepcopy(model), "int4").eval()
    with pytest.raises(CheckpointError, match=r"packed as 8 bits symmetric per channel:0, and .* asks for 4 bits"):
        keep_integer_weights(other, packed)
    with pytest.raises(CheckpointError, match="leaves it in full precision"):
        keep_integer_weights(model, {"classification_heads.weight": packed["layers.0.fc1.weight"]})


def test_a_weight_without_codes_leaves_the_model_as_it_was():
    model = quantize_model(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), "int8")
    with torch.no_grad():
        model[1].weight[0, 0] = torch.nan
    before = [(name, parameter) for name, parameter in model.named_parameters()]
    with pytest.raises(DataError, match=r"1\.weight"):
        keep_integer_weights(model)
    assert [name for name, _ in before] == [name for name, _ in model.named_parameters()]
    assert all(model.get_parameter(name) is parameter for name, parameter in before)
