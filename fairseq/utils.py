"""Small helpers that plugins import from `fairseq.utils`: devices, nested samples, seeds, text, user modules.

>>> apply_to_sample(lambda t: t + 1, {"x": [torch.zeros(1)], "n": 3})
{'x': [tensor([1.])], 'n': 3}
"""

import contextlib
import importlib
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import torch
from torch import Tensor, nn

from fairseq.plugins import import_user_module

if TYPE_CHECKING:
    from fairseq.modules.activations import get_activation_fn, get_available_activation_fns

__all__ = ["get_activation_fn", "get_available_activation_fns", "import_user_module"]

# names that plugins import from here; loaded when asked for, since moving a batch needs no layers
_ELSEWHERE = {
    "get_activation_fn": "fairseq.modules.activations",
    "get_available_activation_fns": "fairseq.modules.activations",
    "load_align_dict": "fairseq.generation.text",
    "replace_unk": "fairseq.generation.text",
    "post_process_prediction": "fairseq.generation.text",
    "parse_alignment": "fairseq.generation.alignment",
    "get_token_to_word_mapping": "fairseq.generation.alignment",
    "extract_hard_alignment": "fairseq.generation.alignment",
    "extract_soft_alignment": "fairseq.generation.alignment",
    "load_ensemble_for_inference": "fairseq.loading",
}


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    if name == "multi_tensor_l2norm_available":  # apex's kernel
        return False
    if not name.startswith("__"):
        from fairseq import plugin_utils

        if name in plugin_utils.__all__:
            return getattr(plugin_utils, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def apply_to_sample(function: Callable[[Tensor], Any], sample: Any) -> Any:
    """`sample` with `function` applied to every tensor in its nested dicts, lists, tuples and sets."""
    if torch.is_tensor(sample):
        return function(sample)
    if isinstance(sample, dict):
        return type(sample)((key, apply_to_sample(function, value)) for key, value in sample.items())
    if isinstance(sample, (list, tuple, set)):
        return type(sample)(apply_to_sample(function, value) for value in sample)
    return sample


def move_to_device(sample: Any, device: torch.device) -> Any:
    """`sample` with every tensor on `device`; the same object if there is nothing to move."""
    if device.type == "cpu":
        return sample
    return apply_to_sample(lambda tensor: tensor.to(device, non_blocking=True), sample)


def move_to_cuda(sample: Any, device: Optional[torch.device] = None) -> Any:
    return move_to_device(sample, device or torch.device("cuda", torch.cuda.current_device()))


def move_to_cpu(sample: Any) -> Any:
    """`sample` on the CPU, half-precision tensors widened to fp32 (what a checkpoint stores)."""

    def to_cpu(tensor: Tensor) -> Tensor:
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensor = tensor.to(dtype=torch.float32)
        return tensor.cpu()

    return apply_to_sample(to_cpu, sample)


def item(value: Any) -> Any:
    """The Python number in a one-element tensor or array; anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


class set_torch_seed(contextlib.AbstractContextManager):
    """Seed torch on construction; as a context manager, restore the generators on exit."""

    def __init__(self, seed: int):
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        torch.manual_seed(seed)

    def __exit__(self, *exc_info: Any) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def model_eval(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of a `with` block."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def gradient_values(params: Iterable[nn.Parameter]) -> list[Tensor]:
    """The numbers of all gradients, to be measured or scaled in place; a sparse one gives its rows, each once."""
    values = []
    for p in params:
        if p.grad is None:
            continue
        if p.grad.is_sparse:
            p.grad = p.grad.coalesce()
            values.append(p.grad._values())
        else:
            values.append(p.grad.detach())
    return values


_PIECE = 1 << 18  # elements that fit into a core's cache; with fewer, the calls dominate


def clip_grad_norm_(
    params: Any, max_norm: float, aggregate_norm_fn: Optional[Callable[[Tensor], Tensor]] = None
) -> Tensor:
    """Scale gradients in place so that their joint L2 norm is at most `max_norm`; 0 only measures. Returns the norm
    before.
    """
    params = [params] if torch.is_tensor(params) else params
    grads = gradient_values(params)
    if not grads:
        return torch.tensor(0.0)
    if any(grad.dtype in (torch.float16, torch.bfloat16) for grad in grads):
        norms = [torch.linalg.vector_norm(grad, dtype=torch.float32) for grad in grads]
    else:
        norms = list(torch._foreach_norm(grads))
    total_norm = torch.linalg.vector_norm(torch.stack(norms))
    if aggregate_norm_fn is not None:
        total_norm = aggregate_norm_fn(total_norm)
    if max_norm > 0:
        torch._foreach_mul_(grads, (float(max_norm) / (total_norm + 1e-6)).clamp_(max=1))
    return total_norm


def multiply_and_clip_grads_(params: Iterable[nn.Parameter], factor: float, max_norm: float) -> Tensor:
    """Multiply all gradients by `factor`, then clip them as `clip_grad_norm_` does, in fewer passes over memory: a
    piece is measured while it is in cache, and gradients that need no clipping are not multiplied by 1.

    Returns the norm after `factor` and before clipping.
    """
    params = list(params)
    grads = gradient_values(params)
    if not grads:
        return torch.tensor(0.0)
    if not all(g.dtype == torch.float32 and g.device.type == "cpu" and g.is_contiguous() for g in grads):
        torch._foreach_mul_(grads, factor)
        return clip_grad_norm_(params, max_norm)
    pieces = [piece for grad in grads for piece in grad.view(-1).split(_PIECE)]
    total_norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.mul_(factor)) for p in pieces]))
    if max_norm > 0 and not total_norm <= max_norm:
        torch._foreach_mul_(grads, (float(max_norm) / (total_norm + 1e-6)).clamp_(max=1))
    return total_norm


def get_perplexity(loss: Any, round: int = 2, base: int = 2) -> float:
    """`base ** loss`, `inf` where that overflows, 0.0 for no loss."""
    if loss is None:
        return 0.0
    try:
        return np.round(np.power(base, float(item(loss))), round).item()
    except OverflowError:
        return float("inf")


def resolve_max_positions(*limits: Any) -> Any:
    """The tightest of several position limits: each a number, a tuple or a dict of them, or None.

    >>> resolve_max_positions((512, 300), (400, 512), None)
    (400, 300)
    >>> resolve_max_positions(512, (300, 600))
    (300, 512)
    >>> resolve_max_positions({"de-en": (512, 300)}, 400)
    {'de-en': (400, 300)}
    """

    def tightest(a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        if isinstance(a, dict) and isinstance(b, dict):
            return {**a, **{key: tightest(a.get(key), value) for key, value in b.items()}}
        if isinstance(a, dict) or isinstance(b, dict):  # one limit for all
            named, other = (a, b) if isinstance(a, dict) else (b, a)
            return {key: tightest(value, other) for key, value in named.items()}
        if isinstance(a, (int, float)) and isinstance(b, (int, float)):
            return min(a, b)
        width = max(len(x) if isinstance(x, (tuple, list)) else 1 for x in (a, b))
        wide_a, wide_b = (tuple(x) if isinstance(x, (tuple, list)) else (x,) * width for x in (a, b))
        return tuple(tightest(x, y) for x, y in zip(wide_a, wide_b, strict=True))

    result = None
    for limit in limits:
        result = tightest(result, limit)
    return result


def strip_pad(tensor: Tensor, pad: int) -> Tensor:
    return tensor[tensor.ne(pad)]


def fill_with_neg_inf(tensor: Tensor) -> Tensor:
    """-inf in every place, in fp32 first so that half precision does not overflow on the way."""
    return tensor.float().fill_(float("-inf")).type_as(tensor)


def softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
    return nn.functional.softmax(x, dim=dim, dtype=torch.float32)


def log_softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
    return nn.functional.log_softmax(x, dim=dim, dtype=torch.float32)


def split_paths(paths: str, separator: str = ":") -> list[str]:
    """A colon-separated list of folders; URLs are kept whole."""
    return paths.split(separator) if "://" not in paths else paths.split("|")


def csv_str_list(text: str) -> list[str]:
    return text.split(",")


def deprecation_warning(message: str, stacklevel: int = 3) -> None:
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)


def eval_str_list(value: Any, type: Callable = float) -> Optional[Sequence[Any]]:
    """A list from a literal like `"[0.1, 0.2]"` or `"0.1,0.2"`, each element converted by `type`."""
    import ast

    if value is None:
        return None
    if isinstance(value, str):
        value = ast.literal_eval(value)
    return [type(element) for element in value] if isinstance(value, (list, tuple)) else [type(value)]


def eval_bool(value: Any, default: bool = False) -> bool:
    """A bool from `True`, `"true"`, `"1"`, ...; `default` for None."""
    if value is None:
        return default
    return value if isinstance(value, bool) else str(value).strip().lower() in ("1", "true", "yes")
