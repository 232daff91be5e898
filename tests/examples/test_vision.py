"""examples/vision: readers against bytes written here, nets, and whole runs by `fairseq-train --user-dir`."""

import gzip
import json
import struct
import sys

import numpy as np
import pytest
import torch
from plugins import PluginRuns, plugin
from torch import nn

from fairseq.errors import DataError
from fairseq.graph import transform
from fairseq.graph.masks import named_masks
from fairseq.quantization import quantize_model
from fairseq.training.quantized import PLAN_FILE


@pytest.fixture(scope="module", autouse=True)
def vision():
    with plugin("vision") as folder:
        yield folder


def part(name):
    return sys.modules[f"vision.{name}"]


def cifar_bytes(number, seed=0):
    """Records of random pixels; the label is the record's number modulo 10."""
    pixels = np.random.default_rng(seed).integers(0, 256, (number, 3072), dtype=np.uint8)
    labels = (np.arange(number) % 10).astype(np.uint8)
    return np.concatenate([labels[:, None], pixels], axis=1).tobytes(), pixels.reshape(number, 3, 32, 32), labels


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """40 + 12 images of 8 x 8 pixels; those of class 1 are striped."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(1)
    for prefix, number in (("train", 40), ("t10k", 12)):
        labels = (np.arange(number) % 2).astype(np.uint8)
        images = rng.integers(0, 100, (number, 8, 8), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:, :: 2 - label] += 150
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch, capsys, mnist, vision):
    flags = [
        "--user-dir",
        str(vision),
        "--task",
        "image_classification",
        "--data-format",
        "mnist",
        "--num-classes",
        "2",
    ]
    flags += ["--valid-examples", "10", "--arch", "conv_net", "--conv-channels", "4,8", "--max-epoch", "2"]
    return PluginRuns(tmp_path, monkeypatch, capsys, mnist, *flags)


# ---- readers


@pytest.mark.parametrize("packed", [False, True])
def test_cifar_files(tmp_path, packed):
    content, pixels, labels = cifar_bytes(7)
    path = tmp_path / ("train.bin.gz" if packed else "train.bin")
    path.write_bytes(gzip.compress(content) if packed else content)
    images, classes = part("readers").cifar_split(tmp_path, "train")
    assert np.array_equal(images, pixels) and np.array_equal(classes, labels) and classes.dtype == np.int64
    assert part("readers").cifar_split(tmp_path, "test") is None


def test_the_files_that_cifar_comes_with(tmp_path):
    readers = part("readers")
    for number in range(1, 5):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(cifar_bytes(number, number)[0])
    with pytest.raises(DataError, match=r"has 4 of data_batch_1\.bin, .*copy the others"):
        readers.cifar_split(tmp_path, "train")
    (tmp_path / "data_batch_5.bin").write_bytes(cifar_bytes(5, 5)[0])
    (tmp_path / "test_batch.bin").write_bytes(cifar_bytes(2)[0])
    images, labels = readers.cifar_split(tmp_path, "train")
    assert np.array_equal(images, np.concatenate([cifar_bytes(number, number)[1] for number in range(1, 6)]))
    assert labels.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert len(readers.cifar_split(tmp_path, "test")[0]) == 2


def test_idx_files(tmp_path):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "t10k-images.idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([9, 0], dtype=np.uint8)))
    found, labels = part("readers").mnist_split(tmp_path, "test")
    assert np.array_equal(found, images[:, None]) and labels.tolist() == [9, 0]


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD = {
    IMAGES: idx_bytes(np.zeros((3, 4, 4), dtype=np.uint8)),
    LABELS: idx_bytes(np.zeros(3, dtype=np.uint8)),
}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({LABELS: None}, "has no train-labels-idx1-ubyte"),
        ({IMAGES: GOOD[IMAGES][:-1]}, r"do not hold what its head says \(3 x 4 x 4\)"),
        ({IMAGES: GOOD[IMAGES][:9]}, "do not hold what its head says"),
        ({IMAGES: b""}, "begins with nothing"),
        ({IMAGES: b"\x89PNG..."}, "begins with 89 50 4e 47"),
        ({IMAGES: gzip.compress(GOOD[IMAGES])[:-12]}, "cannot be read .*copy it again"),
        ({IMAGES: gzip.compress(GOOD[IMAGES])[:12] + b"\xff" * 30}, "cannot be read .*copy it again"),
        ({LABELS: idx_bytes(np.zeros(4, dtype=np.uint8))}, "has 3 images, but .* has 4 labels"),
        ({LABELS: GOOD[IMAGES]}, "have 3 and 3 dimensions"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, message):
    for name, content in {**GOOD, **damage}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        part("readers").mnist_split(tmp_path, "train")


@pytest.mark.parametrize("content", [b"", cifar_bytes(2)[0][:-1]])
def test_damaged_cifar_files(tmp_path, content):
    (tmp_path / "train.bin").write_bytes(content)
    with pytest.raises(DataError, match="are not whole records of 3073"):
        part("readers").cifar_split(tmp_path, "train")


def test_real_files(shared_data):
    readers = part("readers")
    images, labels = readers.cifar_split(shared_data / "cifar10-subset", "train")
    assert images.shape == (10000, 3, 32, 32) and np.bincount(labels).tolist() == [1000] * 10
    assert np.abs(images.mean((0, 2, 3)) / 255 - (0.4914, 0.4822, 0.4465)).max() < 0.01
    images, labels = readers.mnist_split(shared_data / "mnist", "test")
    assert images.shape == (10000, 1, 28, 28) and labels[:5].tolist() == [7, 2, 1, 0, 4]


# ---- data set


def test_images_are_moved_and_mirrored_by_seed_epoch_and_index():
    pixels = np.random.default_rng(1).integers(1, 256, (30, 1, 6, 6), dtype=np.uint8)
    make = part("image_dataset").ImageDataset
    data = make(pixels, np.zeros(30, dtype=np.int64), [0.5], [0.25], max_shift=2, flip=True, seed=3)
    again = make(pixels, np.zeros(30, dtype=np.int64), [0.5], [0.25], max_shift=2, flip=True, seed=3)
    seen = set()
    for epoch in (1, 2):
        data.set_epoch(epoch)
        again.set_epoch(epoch)
        for index in range(30):
            image = data[index]["image"]
            assert torch.equal(image, again[index]["image"])
            found = ((image * 0.25 + 0.5) * 255).round().numpy().astype(np.uint8)
            padded = np.pad(pixels[index], ((0, 0), (2, 2), (2, 2)))
            candidates = {
                (top, left, step): padded[:, top : top + 6, left : left + 6][:, :, ::step]
                for top in range(5)
                for left in range(5)
                for step in (1, -1)
            }
            match = [key for key, candidate in candidates.items() if np.array_equal(candidate, found)]
            assert len(match) == 1
            seen.add((epoch, index, *match[0]))
    assert {entry[2] for entry in seen} == {entry[3] for entry in seen} == set(range(5))
    assert len({entry[1:] for entry in seen}) > 40  # another choice in another epoch


def test_each_epoch_has_an_order_of_its_own():
    data = part("image_dataset").ImageDataset(
        np.zeros((50, 1, 2, 2), dtype=np.uint8), np.zeros(50, dtype=np.int64), [0.0], [1.0], shuffle=True
    )
    assert not data.can_reuse_epoch_itr_across_epochs
    first, second = data.ordered_indices(), data.ordered_indices()
    assert sorted(first) == sorted(second) == list(range(50)) and list(first) != list(second)


# ---- nets


def test_mobile_net_has_the_parameters_of_the_published_one():
    """torchvision 0.29's `mobilenet_v2` has as many for 1000 classes, with state dicts that load here strictly."""
    make = part("models.mobilenet_v2").MobileNetV2
    for width, parameters in ((1.0, 3504872), (0.35, 1677128), (1.4, 6108776)):
        model = make(width_mult=width, large_images=True, num_classes=1000)
        assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert list(model.state_dict())[:2] == ["features.0.0.weight", "features.0.1.weight"]
    assert "features.17.conv.1.0.weight" in model.state_dict() and "classifier.1.bias" in model.state_dict()


@pytest.mark.parametrize(("large_images", "size"), [(False, 4), (True, 1)])
def test_size_of_the_last_features(large_images, size):
    model = part("models.mobilenet_v2").MobileNetV2(width_mult=0.1, large_images=large_images).eval()
    assert model.features(torch.randn(1, 3, 32, 32)).shape == (1, 1280, size, size)


@pytest.mark.parametrize("preset", ["int8", "w4", "mxfp8"])
def test_every_product_of_mobile_net_is_quantized(preset):
    torch.manual_seed(1)
    model = part("models.mobilenet_v2").MobileNetV2(width_mult=0.1)
    products = [name for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    model = quantize_model(model, preset)
    weights = {row.quantizer for row in model.quantization.plan.active if row.role == "weight"}
    assert weights == {f"{name}.weight" for name in products} and len(weights) == 53
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


# ---- runs


def accuracies(out):
    return [float(line.split("| accuracy ")[1].split()[0]) for line in out.splitlines() if "| accuracy " in line]


@pytest.mark.parametrize("flags", [(), ("--quantization", "int8")], ids=["float", "int8"])
def test_trained_resumed_and_validated(runs, flags):
    flags = (*flags, "--max-shift", "1")
    runs.trained("whole", *flags)
    assert len(runs.losses("whole")) == 8  # 30 images in batches of 8, twice
    runs.trained("parts", *flags, "--max-update", "5")  # within the second epoch
    runs.trained("parts", *flags)
    runs.assert_same_run("whole", "parts")
    (accuracy,) = accuracies(runs.validated("whole"))
    assert accuracy == runs.last("whole", "valid")["accuracy"]
    assert accuracies(runs.validated("whole", "--valid-subset", "test"))
    if len(flags) > 2:
        plan = json.loads((runs.folder / "whole" / PLAN_FILE).read_text())["plan"]
        weights = [row["quantizer"] for row in plan if row["quantizer"].endswith(".weight")]
        assert weights == ["features.0.weight", "features.3.weight", "classifier.weight"]


def test_transformed_by_a_file_and_trained_on(runs):
    """Batch norms fused, half of the weights pruned, the rest in four bits: a checkpoint like any other."""
    runs.trained("run", "--max-update", "2")
    config = {
        "inputs": ["images:float32[2,1,8,8]"],
        "passes": {"fuse_conv_bn": {}, "prune": {"sparsity": 0.5}, "quantize": {"conv2d": {"bits": 4}}},
    }
    done = transform(config, str(runs.folder / "run" / "checkpoint_last.pt"), out=runs.folder / "changed")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in done.graph.model.modules())
    path = runs.folder / "changed" / "checkpoint.pt"
    runs.trained("next", "--finetune-from-model", path, "--max-update", "2")
    after, masks = runs.checkpoint("next")["model"], named_masks(done.graph.model)
    assert list(after) == list(done.graph.model.state_dict()) and masks
    for key, mask in masks.items():
        assert torch.equal(after[f"{key}_mask"], mask) and not after[key][~mask].any()
    runs.validated("next")


def test_files_for_valid(runs, mnist, tmp_path):
    """They are used instead of training images, whatever they are packed in, and are no other subset."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in mnist.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
        (folder / path.name.replace("t10k", "valid")).write_bytes(path.read_bytes())
    out = runs.trained("run", "--max-update", "1", data=folder).out
    assert "Loaded train with #samples: 40" in out and "Loaded valid with #samples: 12" in out


def test_a_config(runs, vision, tmp_path):
    (tmp_path / "train.bin").write_bytes(cifar_bytes(30)[0])
    words = ["--config-dir", str(vision / "config"), "--config-name", "cifar10", f"task.data={tmp_path}"]
    words += [f"common.user_dir={vision}", "task.valid_examples=10", "dataset.num_workers=0", "common.cpu=true"]
    words += [
        "optimization.max_update=2",
        "lr_scheduler.warmup_updates=1",
        f"checkpoint.save_dir={tmp_path / 'run'}",
        "dataset.batch_size=8",
    ]
    result = runs.hydra(*words, "model.width_mult=0.1", f"hydra.run.dir={tmp_path / 'hydra'}")
    assert result.code == 0, result.err
    assert (tmp_path / "run" / "checkpoint_best.pt").exists()


def test_errors_are_one_line(runs, mnist, tmp_path):
    assert "no split 'train' with --data-format cifar10: train.bin, or data_batch_1.bin" in runs.error(
        "--data-format", "cifar10"
    )
    assert "no data folder" in runs.error(data=tmp_path / "absent")
    assert "--valid-examples) leaves none of 40 images" in runs.error("--valid-examples", "40")
    assert "has label 1, but there are 1 classes" in runs.error("--num-classes", "1")
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in mnist.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:-9])
    assert "train-images-idx3-ubyte.gz cannot be read" in runs.error(data=folder)
