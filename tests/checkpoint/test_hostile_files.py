"""Files made to hurt: small ones that unfold to much, and whatever a fuzzer makes of good ones."""

import io
import os
import pickle
import resource
import tempfile
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairseq.checkpoint.contents import read_outline
from fairseq.checkpoint.reading import read
from fairseq.checkpoint_utils import load_checkpoint_to_cpu
from fairseq.errors import CheckpointError


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def repacked(path, replace, compression=zipfile.ZIP_STORED):
    """A PyTorch file with some of its parts replaced."""
    buffer = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(3)}}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for part in source.infolist():
            content = replace.get(part.filename.rpartition("/")[2], source.read(part))
            target.writestr(part.filename, content, compress_type=compression)
    return path


def billion_laughs():
    value = ["ha"]
    for _ in range(60):
        value = [value, value]
    return value


def bomb(path):
    zeros = b"\x80\x02B" + (1 << 26).to_bytes(4, "little") + bytes(1 << 26) + b"."
    return repacked(path, {"data.pkl": zeros}, zipfile.ZIP_DEFLATED)


def saved(value):
    def write(path):
        torch.save(value, path)
        return path

    return write


HOSTILE = {
    "bytearray": (saved({"x": Call(bytearray, 1 << 40)}), "refers to builtins.bytearray"),
    "meta": (saved({"x": torch.empty(1 << 40, device="meta")}), "_rebuild_meta_tensor_no_storage"),
    "expanded": (saved({"model": {"w": torch.zeros(1).expand(1 << 40)}}), "has no place in the file"),
    "sparse": (
        saved({"x": torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,), check_invariants=False)}),
        "a tensor that is not dense in CPU memory",
    ),
    "lists in cfg": (saved({"model": {}, "cfg": {"model": {"x": billion_laughs()}}}), "lists in lists"),
    "lists in args": (saved({"model": {}, "args": Namespace(arch=billion_laughs())}), "lists in lists"),
    "zip bomb": (bomb, r"bytes that unpack to 67,1"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_small_files_do_not_fill_the_memory(kind, tmp_path):
    write, message = HOSTILE[kind]
    path = write(tmp_path / "c.pt")
    assert path.stat().st_size < 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint_to_cpu(str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


OF_TENSORS = ("expanded", "sparse")  # which an outline has no contents of


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind not in OF_TENSORS])
def test_nor_do_their_outlines(kind, tmp_path):
    """Commands look at shapes and config first, to know the settings of a file."""
    write, message = HOSTILE[kind]
    path = write(tmp_path / "c.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=message):
        read_outline(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_legacy_header_that_claims_a_terabyte(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"model": {"w": torch.zeros(77)}}, path, _use_new_zipfile_serialization=False)
    # 77 elements, as a one-byte integer followed by None: in its place one of five bytes
    content = path.read_bytes()
    assert content.count(b"K\x4dN") == 1
    path.write_bytes(content.replace(b"K\x4dN", pickle.LONG1 + b"\x06" + (1 << 40).to_bytes(6, "little") + b"N"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="is damaged"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


# -- fuzzing -----------------------------------------------------------------------------------------------------------

STATE = {
    "args": None,
    "cfg": {"model": {"_name": "roberta", "encoder_layers": 1}, "optimization": {"lr": [0.1]}},
    "model": OrderedDict(w=torch.arange(6.0).view(2, 3), b=torch.ones(2, dtype=torch.half)),
    "optimizer_history": [{"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 3}],
    "extra_state": {"train_iterator": {"epoch": 1}, "old": Namespace(x=1)},
}
LAYOUTS = {}
for _zipped in (True, False):
    _buffer = io.BytesIO()
    torch.save(STATE, _buffer, _use_new_zipfile_serialization=_zipped)
    LAYOUTS[_zipped] = _buffer.getvalue()
DERANDOMIZE = "FAIRSEQ_FUZZ" not in os.environ  # the same cases each time, unless a search for new ones is wanted
edits = st.lists(st.tuples(st.integers(0, 5000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(torch.ones(2)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("args", "cfg", "model", "optimizer_history", "extra_state", "last_optimizer_state", "task_state")


def load(content):
    """Read `content`; anything but data or a CheckpointError of one line is a failure."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.pt")
        path.write_bytes(content)
        try:
            return load_checkpoint_to_cpu(str(path))
        except CheckpointError as error:
            assert folder in str(error) and "\n" not in str(error)
            return None


@settings(max_examples=150, deadline=None, derandomize=DERANDOMIZE)
@given(st.booleans(), edits, st.integers(0, 40))
@example(False, [(0, b"\x00")], 0)
@example(False, [(13, b"(lp0\n.")], 0)
@example(True, [(0, b"PK\x05\x06")], 0)
@example(True, [(40, b"\xff\xff\xff\xff")], 3)
def test_changed_bytes(zipped, changes, cut):
    content = bytearray(LAYOUTS[zipped])
    for place, new in changes:
        place %= len(content)
        content[place : place + len(new)] = new
    load(bytes(content[: len(content) - cut] if cut < 20 else content))


@settings(max_examples=100, deadline=None, derandomize=DERANDOMIZE)
@given(st.binary(max_size=80), st.booleans())
@example(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00lsR.", True)
@example(b"\x80\x02]q\x00h\x00a.", True)
@example(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", True)
def test_any_pickle(pickled, zipped):
    if zipped:
        with tempfile.TemporaryDirectory() as folder:
            pickled = repacked(Path(folder, "c.pt"), {"data.pkl": pickled}).read_bytes()
    load(pickled)


@settings(max_examples=100, deadline=None, derandomize=DERANDOMIZE)
@given(st.dictionaries(st.sampled_from(KEYS), plain, max_size=5), st.booleans())
@example({"model": {}, "optimizer_history": {}}, True)
@example({"model": {}, "optimizer_history": [None]}, True)
@example({"model": {}, "extra_state": []}, True)
@example({"model": {}, "extra_state": {"train_iterator": None}}, True)
@example({"model": {}, "cfg": [1]}, True)
@example({"model": {}, "cfg": {"model": 3, "task": []}}, True)
@example({"model": {}, "args": "x"}, True)
@example({"optimizer_history": torch.ones(2)}, True)
def test_data_of_another_shape(state, with_model):
    buffer = io.BytesIO()
    torch.save({"model": {}, **state} if with_model else state, buffer)
    load(buffer.getvalue())
