"""Reading checkpoints: every kind of data comes back, nothing else is admitted, damage is noticed."""

import collections
import dataclasses
import enum
import functools
import io
import os
import pathlib
import random
import re
import subprocess
import warnings
import zipfile
from argparse import Namespace
from collections import OrderedDict

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import fairseq.errors
from fairseq.checkpoint.reading import read
from fairseq.errors import CheckpointError

LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def write(path, obj, zipped=True, protocol=2):
    torch.save(obj, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return path


def same(a, b):
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Namespace):
        return isinstance(b, Namespace) and same(vars(a), vars(b))
    return type(a) is type(b) and a == b


@LAYOUTS
def test_data_comes_back(tmp_path, zipped):
    data = {
        "tensors": [torch.randn(3, 4), torch.arange(5), torch.tensor(1.5, dtype=torch.half), torch.tensor(True)],
        "ordered": OrderedDict(b=1, a=torch.zeros(2)),
        "namespace": Namespace(lr=[0.1], nested=Namespace(x=(1, "y")), data="D"),
        "plain": [None, True, 3, 1 << 70, 2.5, float("inf"), "text é", b"bytes", {1, 2}, (1, [2, (3,)])],
        "scalars": [np.float64(1.5), np.float32(2.5), np.int64(7), np.bool_(True), np.str_("s"), np.float64("nan") > 0],
        "arrays": [np.arange(6).reshape(2, 3), np.asfortranarray(np.random.rand(2, 3)), np.array([1, 2], dtype=">i4")],
        "torch": [torch.float16, torch.Size([1, 2])],
    }
    assert same(read(write(tmp_path / "c.pt", data, zipped)), data)


def test_shared_and_cyclic_containers(tmp_path):
    shared = [np.float64(1.0)]
    cyclic = {"again": shared, "pair": (shared, shared)}
    cyclic["self"] = cyclic
    loaded = read(write(tmp_path / "c.pt", cyclic))
    assert loaded["self"] is loaded and loaded["pair"][0] is loaded["again"] and loaded["pair"][1] == [1.0]


def test_paths_and_default_dicts_become_plain(tmp_path):
    counts = collections.defaultdict(list, {"a": [1]})
    loaded = read(write(tmp_path / "c.pt", {"path": pathlib.PurePosixPath("a/b"), "counts": counts}))
    assert loaded == {"path": "a/b", "counts": {"a": [1]}}
    assert type(loaded["counts"]) is dict


class Choice(enum.Enum):
    FIRST = "first"


@dataclasses.dataclass
class Group:
    lr: list[float] = dataclasses.field(default_factory=lambda: [0.1])
    name: str = "n"
    choice: Choice = Choice.FIRST
    missing: str = "???"
    nothing: int | None = None
    follows: str = "${name}"


@LAYOUTS
def test_config_objects_become_plain(tmp_path, zipped, monkeypatch):
    # as a checkpoint of another program version has them: classes of packages that are not imported here
    for cls in (Choice, Group):
        monkeypatch.setattr(cls, "__module__", "fairseq.dataclass.elsewhere")
    monkeypatch.setitem(__import__("sys").modules, "fairseq.dataclass.elsewhere", __import__(__name__))
    cfg = OmegaConf.create(
        {"group": OmegaConf.structured(Group), "free": {"a": [1, {"b": None}]}, "enum": Choice.FIRST}
    )
    path = write(tmp_path / "c.pt", {"cfg": cfg}, zipped)
    monkeypatch.undo()
    expected = {"lr": [0.1], "name": "n", "choice": "first", "missing": "???", "nothing": None, "follows": "${name}"}
    assert read(path) == {"cfg": {"group": expected, "free": {"a": [1, {"b": None}]}, "enum": "first"}}


class Call:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def attacks(marker: str):
    return [
        ("posix.system", Call(os.system, f"touch {marker}")),
        ("subprocess.Popen", Call(subprocess.Popen, ["touch", marker])),
        ("builtins.eval", Call(eval, f"open({marker!r}, 'w')")),
        ("builtins.exec", Call(exec, f"open({marker!r}, 'w')")),
        ("builtins.getattr", Call(getattr, "text", "format")),
        ("functools.partial", functools.partial(os.system, f"touch {marker}")),
        ("torch.serialization.load", Call(torch.load, marker)),
        ("operator.methodcaller", __import__("operator").methodcaller("touch")),
        (f"{open.__module__}.open", Call(open, marker, "w")),  # _io from Python 3.13 on
    ]


def places(payload):
    return {
        "top": payload,
        "cfg": {"cfg": {"model": {"x": [payload]}}, "model": {}},
        "namespace": {"args": Namespace(arch=payload)},
        "optimizer": {"last_optimizer_state": {"state": {0: {"exp_avg": payload}}}},
        "metrics": {"extra_state": {"metrics": OrderedDict(train=[(10, "loss", "AverageMeter", {"val": payload})])}},
        "key": {(1, payload) if payload.__class__ is Call else payload: 1},
    }


@LAYOUTS
@pytest.mark.parametrize("name", [name for name, _ in attacks("")])
@pytest.mark.parametrize("place", ["top", "cfg", "namespace", "optimizer", "metrics", "key"])
@pytest.mark.filterwarnings("ignore")
def test_code_is_refused_and_never_run(tmp_path, name, place, zipped):
    marker = tmp_path / "ran"
    path = write(tmp_path / "c.pt", places(dict(attacks(str(marker)))[name])[place], zipped)
    with pytest.raises(CheckpointError) as refused:
        read(path)
    assert not marker.exists()
    assert f"{path} refers to {name}" in str(refused.value) and "which is not data: refused" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_pickle_protocols_are_no_way_in(tmp_path, protocol):
    marker = tmp_path / "ran"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write(tmp_path / "c.pt", {"x": Call(os.system, f"touch {marker}")}, protocol=protocol)
        with pytest.raises(CheckpointError, match=r"system"):
            read(path)
    assert not marker.exists()


def test_stand_ins_call_nothing(tmp_path):
    """A name below fairseq. or omegaconf. is admitted, but as a stand-in: the real thing is neither imported nor
    called.
    """
    marker = tmp_path / "ran"

    def touch(*args):
        marker.touch()

    touch.__module__, touch.__qualname__ = "fairseq.errors", "touch"
    fairseq.errors.touch = touch
    try:
        path = write(tmp_path / "c.pt", {"a": Call(touch, 1, 2), "b": Call(touch, 3)})
        loaded = read(path)
    finally:
        del fairseq.errors.touch
    assert loaded == {"a": "fairseq.errors.touch", "b": 3} and not marker.exists()


@LAYOUTS
def test_object_arrays_are_refused(tmp_path, zipped):
    path = write(tmp_path / "c.pt", {"x": np.array([Namespace()], dtype=object)}, zipped)
    with pytest.raises(CheckpointError, match=r"numpy.dtype\('O8'\)"):
        read(path)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    state = {"cfg": {"model": Namespace(lr=0.1)}, "model": {"w": torch.randn(40, 4), "b": torch.randn(4)}, "n": 3}
    return state, write(tmp_path_factory.mktemp("small") / "c.pt", state).read_bytes()


def test_every_flipped_bit_is_noticed(tmp_path, small):
    state, data = small
    path, noticed = tmp_path / "c.pt", 0
    for place in random.Random(0).sample(range(8 * len(data)), 300):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert same(read(path), state), f"bit {place} changed what is read"
        except CheckpointError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            noticed += 1
    assert noticed > 100  # the rest is padding and file dates


@LAYOUTS
def test_truncated(tmp_path, small, zipped):
    state, _ = small
    path = write(tmp_path / "c.pt", state, zipped)
    data = path.read_bytes()
    for share in (0, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError, match=r"checkpoint .*c.pt is damaged or (no|holds)"):
            read(path)


SAID = (
    "is damaged or holds more than data; refused",
    r"is damaged or no PyTorch checkpoint \((it is cut short|its contents cannot be parsed|its table of parts is broken"
    r"|its part \S+ does not have its checksum|[\d,]+ bytes that unpack to [\d,]+)\); use another copy of it",
    "refers to .*, which is not data: refused, nothing was run .*",
)


@LAYOUTS
def test_messages_are_about_the_file(tmp_path, small, zipped):
    """Not about the parser, and never torch's advice to load the file all the same or to file an issue."""
    state, _ = small
    path = write(tmp_path / "c.pt", state, zipped)
    data, rng, seen = path.read_bytes(), random.Random(1), set()
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 20)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))])
        try:
            read(path)
        except CheckpointError as error:
            seen.add(str(error).removeprefix(f"checkpoint {path} "))
    assert len(seen) > 1
    for line in seen:
        assert any(re.fullmatch(known, line) for known in SAID), line


def test_written_without_checksums(tmp_path, small):
    state, _ = small
    torch.serialization.set_crc32_options(False)
    try:
        path = write(tmp_path / "c.pt", state)
    finally:
        torch.serialization.set_crc32_options(True)
    assert same(read(path), state)


def test_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint .*none.pt does not exist \(started in "):
        read(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is a folder; give a file in it"):
        read(tmp_path)
    (tmp_path / "text.pt").write_text("epoch 1\n" * 100)
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("a.txt", "hello")
    for name in ("text.pt", "other.pt"):
        with pytest.raises(CheckpointError, match=f"{name} is damaged or (no|holds)"):
            read(tmp_path / name)


def test_nesting_without_end(tmp_path):
    pickled = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    buffer = io.BytesIO()
    torch.save({}, buffer)
    path = tmp_path / "deep.pt"
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for part in source.infolist():
            target.writestr(part.filename, pickled if part.filename.endswith("data.pkl") else source.read(part))
    with pytest.raises(CheckpointError, match=r"deep.pt is damaged"):
        read(path)
