"""Files of packed weights that nobody can have written: one line each, that names the weight."""

import copy
import gzip
import io
from pathlib import Path

import pytest
import torch

from fairseq.checkpoint.packed import pack_state, read_packed
from fairseq.checkpoint_utils import load_checkpoint_to_cpu, torch_persistent_save
from fairseq.errors import CheckpointError
from fairseq.quantization.kernels.packing import pack_bits
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import WEIGHT, QuantizationContext, Quantizer, QuantizerSpec

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "packed"


def packed(num_bits=4, **settings):
    spec = QuantizerSpec(**{"format": "symmetric", "granularity": "channel", **settings})
    return pack_weight(Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(3, 9)), torch.randn(3, 9), num_bits)


def write(path, weights, **more):
    state = {"model": {"bias": torch.randn(3)}, "cfg": None, "extra_state": {"ema": {"w": torch.ones(9)}}, **more}
    torch_persistent_save(pack_state(state, weights), str(path))
    return str(path)


@pytest.mark.parametrize("num_bits", [2, 3, 4, 7, 8, 11])
@pytest.mark.parametrize(
    "settings", [{}, {"format": "affine_float_zp"}, {"format": "affine", "granularity": "group:4"}]
)
def test_there_and_back(num_bits, settings, tmp_path):
    weight = packed(num_bits, **settings)
    path = write(tmp_path / "packed.pt", {"fc.weight": weight}, last_optimizer_state={"x": torch.ones(99)})
    content = torch.load(path, weights_only=True)  # plain data
    assert list(content["model"]) == ["bias"] and "last_optimizer_state" not in content
    assert not content["extra_state"]
    state = load_checkpoint_to_cpu(path)
    assert torch.equal(state["model"]["fc.weight"], weight.values())
    found = state["packed_weights"]["fc.weight"]
    assert torch.equal(found.data, weight.data) and found.num_bits == num_bits and found.shape == (3, 9)


def test_a_scale_below_zero_is_not_written(tmp_path):
    """Readers refuse it: it says so before there is a file that nobody can read."""
    weight = packed(4)
    weight = weight._replace(scales=tuple(-scale for scale in weight.scales))
    with pytest.raises(CheckpointError, match=r"weight fc.weight cannot be packed: it has a scale of -"):
        write(tmp_path / "packed.pt", {"fc.weight": weight})
    assert not (tmp_path / "packed.pt").exists()


def test_the_rest_in_half_precision(tmp_path):
    tied = torch.randn(5)
    state = {"model": {"a": tied, "b": torch.tensor([1e6]), "c": torch.tensor([1, 2]), "d": tied, "e": tied[:3]}}
    model = pack_state(state, {}, half=True)["model"]
    assert [value.dtype for value in model.values()] == [
        torch.float16, torch.float32, torch.int64, torch.float16, torch.float16
    ]  # fmt: skip
    assert model["a"] is model["d"] and model["e"].shape == (3,)


def spoilt(**changes):
    def change(entry):
        entry.update({key: value(entry[key]) if callable(value) else value for key, value in changes.items()})

    return change


def with_value(value):
    def changed(parts):
        parts[0].view(-1)[0] = value
        return parts

    return changed


HOSTILE = {
    "no dictionary": (lambda entry: entry.clear(), "is not a packed weight"),
    "more keys": (lambda entry: entry.update(x=1), "is not a packed weight"),
    "rows cut": (spoilt(codes=lambda codes: codes[:, :-1]), "4 numbers a row for 9 codes of 4 bits"),
    "too long": (spoilt(codes=lambda codes: codes.repeat(1, 2)), "10 numbers a row"),
    "one axis": (spoilt(codes=lambda codes: codes.view(-1)), "no matrix of uint8 codes"),
    "floats": (spoilt(codes=lambda codes: codes.float()), "no matrix of uint8 codes"),
    "no rows": (spoilt(codes=lambda codes: codes[:0]), "no matrix of uint8 codes"),
    "no tensor": (spoilt(codes=[1, 2]), "no matrix of uint8 codes"),
    "1 bit": (spoilt(num_bits=1), "has 1 bits; symmetric has 2 to 16"),
    "99 bits": (spoilt(num_bits=99), "has 99 bits"),
    "bits as text": (spoilt(num_bits="4"), "has '4' bits"),
    "true bits": (spoilt(num_bits=True), "has True bits"),
    "columns": (spoilt(columns=1 << 40), "5 numbers a row for 1099511627776 codes"),
    "no columns": (spoilt(columns=-9), "has -9 columns"),
    "negative scale": (spoilt(scales=with_value(-1.0)), "scales that are not above 0"),
    "zero scale": (spoilt(scales=with_value(0.0)), "scales that are not above 0"),
    "NaN scale": (spoilt(scales=with_value(float("nan"))), "scales that are not finite"),
    "inf scale": (spoilt(scales=with_value(float("inf"))), "scales that are not finite"),
    "scales of another shape": (spoilt(scales=[torch.ones(3)]), "scales that are not fp32 of shape 3x1"),
    "double scales": (spoilt(scales=[torch.ones(3, 1).double()]), "scales that are not fp32"),
    "no scales": (spoilt(scales=None), "has no scales"),
    "too many scales": (spoilt(scales=[torch.ones(3, 1)] * 2), "not as many as its granularity asks for"),
    "zero point": (spoilt(zero_points=[torch.full((3, 1), 0.5)]), "zero points that are no codes"),
    "NaN zero point": (spoilt(zero_points=[torch.full((3, 1), float("nan"))]), "zero points that are not finite"),
    "format": (spoilt(format="float7"), "number format 'float7', which is not known"),
    "format no text": (spoilt(format=["symmetric"]), "which is not known"),
    "granularity": (spoilt(granularity="group:0"), "granularity 'group:0', which is not known"),
    "axis": (spoilt(granularity="channel:7"), "granularity 'channel:7', which is not known"),
    "granularity no text": (spoilt(granularity=7), "granularity 7, which is not known"),
    "code that is none": (spoilt(codes=lambda codes: codes * 0), "codes that symmetric does not have at 4 bits"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files(kind, tmp_path):
    change, message = HOSTILE[kind]
    path = write(tmp_path / "packed.pt", {"fc.weight": packed()})
    content = torch.load(path, weights_only=True)
    change(content["packed_weights"]["fc.weight"])
    torch.save(content, path)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint_to_cpu(path)
    assert str(error.value).startswith(f"checkpoint {path}: packed weight 'fc.weight' ") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [3, [], {1: 2}])
def test_no_dictionary_of_weights(value, tmp_path):
    torch.save({"model": {}, "packed_weights": value}, tmp_path / "packed.pt")
    with pytest.raises(CheckpointError, match="its packed_weights are no dictionary by key"):
        load_checkpoint_to_cpu(str(tmp_path / "packed.pt"))


def test_a_weight_in_both_forms(tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "packed_weights": {"w": packed().as_dict()}}, tmp_path / "packed.pt")
    with pytest.raises(CheckpointError, match="packed weight 'w' is there in full, too"):
        load_checkpoint_to_cpu(str(tmp_path / "packed.pt"))


def test_files_of_the_version_before():
    """Codes of 3, 5 to 7 and 9 to 15 bits took 4, 8 and 16, scales a byte each, and formats without scale had one."""
    found = torch.load(io.BytesIO(gzip.decompress((FIXTURES / "version2.pt.gz").read_bytes())), weights_only=True)
    assert len(found) > 15
    for case in found:
        entry = case["entry"]
        assert entry["version"] == 2
        weight = read_packed(entry)
        assert torch.equal(weight.values(), case["values"]), entry["format"]
        assert (
            read_packed(weight.as_dict()).num_bytes
            == weight.num_bytes
            <= 3 * -(-13 * weight.code_bits // 8)
            + sum(part.nbytes for part in (*entry["scales"], *(entry["zero_points"] or ())))
        )


@pytest.mark.parametrize(("num_bits", "spare"), [(3, 8), (6, 64), (12, 1 << 12)])
def test_codes_of_more_bits_in_files_of_the_version_before(num_bits, spare):
    weight = packed(num_bits)
    codes = weight.unpacked()
    old = {3: pack_bits(codes, 4) if num_bits == 3 else None, 6: codes, 12: codes.to(torch.int16)}[num_bits]
    entry = {**weight.as_dict(), "version": 2, "codes": old}
    assert torch.equal(read_packed(copy.deepcopy(entry)).values(), weight.values())
    entry["codes"] = entry["codes"] | spare
    with pytest.raises(ValueError, match=f"has codes of more than {num_bits} bits"):
        read_packed(entry)
