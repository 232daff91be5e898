"""Attention of a decoding step by one kernel, on caches (`caches.py`) instead of the ordinary state (`state.py`).

It takes one new query of each hypothesis, in fp32 on a CPU, without gradients, where keys and values have no extra ones
and no mask but a source's padding, and both products are unmodified: in full precision, or in integers on grids that
do not change. Everything else goes the ordinary way; what was kept in a cache becomes ordinary state then.
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.modules.attention.caches import Cache, SourceCache, StepCache, Storage
from fairseq.modules.attention.core import split_heads
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.matmul import MatMul
from fairseq.modules.unmodified import is_unmodified
from fairseq.native.compiled import is_tracing
from fairseq.quantization.kernels import step_attention
from fairseq.quantization.kernels.codes import NotANumber
from fairseq.quantization.layers.matmul import QMatmul
from fairseq.quantization.products.step_grids import grid_key

MIN_CHANNELS = 128  # for narrower models no compiler is started
KEY = "step_cache"  # in an incremental state, behind the module's id


def attend(
    attention: Any,
    q: Tensor,
    projected: tuple[Tensor, Optional[Tensor], Optional[Tensor]],
    key_padding_mask: Optional[Tensor],
    incremental_state: IncrementalState,
    static_kv: bool,
    num_bits: Optional[int],
    wanted: tuple[bool, bool],
) -> Optional[tuple[Tensor, Optional[Tensor]]]:
    """The context (1, N, C) of one step, and its probabilities; None, with nothing done, where the step has to go the
    ordinary way.

    Args:
        attention: a MultiheadAttention; no mask but `key_padding_mask` is asked for.
        q: queries (1, N, C), projected and not scaled yet.
        projected: query, key and value, of which keys and values are projected here.
        wanted: whether probabilities are, (N, 1, T), and whether those of each head, (H, N, 1, T).
    """
    if not _can_run(attention, q) or (key_padding_mask is not None and not static_kv):
        return None
    name = attention._full_key(KEY)
    cache = kept(incremental_state, name)
    storage = _storage_of(attention, None if cache is None else cache.storage, num_bits)
    if storage is None or (cache is not None and cache.storage is not storage):
        return None
    if cache is None and attention._full_key("attn_state") in incremental_state:
        return None
    try:
        if cache is None or not static_kv:
            k, v = attention._project(*projected, num_bits)  # (S, B, C) each
            if static_kv:
                cache = _of_source(storage, k, v, key_padding_mask, attention.num_heads, q.size(1))
            elif k.shape == q.shape:
                cache = _with_step(cache, storage, k, v)
            else:
                return None
        y, probs = step_attention.attend(
            q[0], cache.step_keys(), attention.num_heads, attention.scaling, storage.grids, wanted[0]
        )
    except NotANumber:
        return None  # the ordinary way hands it on
    keep(incremental_state, name, cache)
    if probs is not None:
        probs = probs.unsqueeze(2) if wanted[1] else probs.mean(dim=0).unsqueeze(1)
    return y.unsqueeze(0), probs


def _can_run(attention: Any, q: Tensor) -> bool:
    return (
        q.size(0) == 1
        and q.size(1) > 0
        and attention.embed_dim >= MIN_CHANNELS
        and attention.bias_k is None
        and not attention.add_zero_attn
        and q.dtype == torch.float32
        and q.device.type == "cpu"
        and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or is_tracing())
        and is_unmodified(attention.dropout_module, FairseqDropout)
        and not attention.dropout_module.is_active
        and step_attention.is_available()
    )


def _storage_of(attention: Any, known: Optional[Storage], num_bits: Optional[int]) -> Optional[Storage]:
    """In what numbers keys are to be kept at `num_bits`, `known` if it is that; None where only the ordinary way can
    compute the products."""
    qk, pv = attention.qk_matmul, attention.pv_matmul
    if is_unmodified(qk, MatMul) and is_unmodified(pv, MatMul):
        key = None
    elif is_unmodified(qk, QMatmul) and is_unmodified(pv, QMatmul):
        key = grid_key(qk.quantizers, pv.quantizers, num_bits)
        if key is None:
            return None
    else:
        return None
    bits = None if attention.cache is None else attention.cache.bits()
    if known is not None and known.key == key and known.num_bits == bits:
        return known
    return Storage(attention.head_dim, bits, key, None if key is None else key.grids())


def _with_step(cache: Optional[Cache], storage: Storage, k: Tensor, v: Tensor) -> StepCache:
    """`cache` with the projected keys and values (1, N, C) of one more step."""
    if cache is None:
        cache = StepCache.empty(storage, k.size(1))
    assert isinstance(cache, StepCache)
    return cache.extended(k[0].unflatten(1, (-1, storage.depth)), v[0].unflatten(1, (-1, storage.depth)))


def _of_source(
    storage: Storage, k: Tensor, v: Tensor, key_padding_mask: Optional[Tensor], num_heads: int, rows: int
) -> SourceCache:
    """The cache of projected keys and values (S, B, C) of a source, which `rows` queries share."""
    k, v = (split_heads(x, num_heads).unflatten(0, (-1, num_heads)) for x in (k, v))
    hidden = None if key_padding_mask is None else key_padding_mask.bool()
    return SourceCache.of(storage, k, v, hidden, rows)


def kept(incremental_state: Optional[IncrementalState], key: str) -> Optional[Cache]:
    """The cache under `key`."""
    found: Any = None if incremental_state is None else incremental_state.get(key)
    return found  # type: ignore[no-any-return]


def keep(incremental_state: IncrementalState, key: str, cache: Cache) -> None:
    """Put `cache` under `key`."""
    incremental_state[key] = cache  # type: ignore[assignment]  # only OwnStates have caches
