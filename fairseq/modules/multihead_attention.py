"""Multi-head attention (Vaswani et al., arXiv:1706.03762, section 3.2).

    MultiHead(Q, K, V) = concat(head_1 .. head_H) W_o,   head_i = softmax(Q W_q (K W_k)^T / sqrt(D)) V W_v

Every matrix product is a submodule that is called: `q_proj`, `k_proj`, `v_proj`, `out_proj`, `qk_matmul` and
`pv_matmul`. Replacing or hooking one of them therefore takes effect, always. Layout: time x batch x channel.

>>> attention = MultiheadAttention(8, num_heads=2, self_attention=True)
>>> x = torch.randn(5, 3, 8)
>>> context, weights = attention(x, x, x)
>>> context.shape, weights.shape
(torch.Size([5, 3, 8]), torch.Size([3, 5, 5]))
"""

import contextlib
import math
from typing import Any, Optional, TypeGuard

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.incremental_decoding_utils import FairseqIncrementalState, IncrementalState, OwnStates
from fairseq.modules import pruning
from fairseq.modules.attention import state, steps
from fairseq.modules.attention.core import merge_heads, split_heads
from fairseq.modules.attention.implementations import (
    FusedFloat,
    FusedInteger,
    Implementation,
    Operands,
    Result,
    StepByStep,
)
from fairseq.modules.attention.masks import additive_mask, with_extra_key
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.matmul import MatMul
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.unmodified import has_hooks
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.key_value_cache import KeyValueCache
from fairseq.quantization.layers.linear import QLinear


def _beside(x: Tensor, queries: int) -> Tensor:
    """(T, B*K, C) -> (T*K, B, C)."""
    return x.unflatten(1, (-1, queries)).transpose(1, 2).flatten(0, 1)


def _in_succession(x: Tensor, queries: int) -> Tensor:
    """(T*K, B, C) -> (T, B*K, C)."""
    return x.unflatten(0, (-1, queries)).transpose(1, 2).flatten(1, 2)


class MultiheadAttention(FairseqIncrementalState, nn.Module):
    """Attention of `num_heads` heads over `embed_dim` channels.

    Attributes:
        implementations: ways to compute what lies between the projections; the first that can run does.

    Args:
        embed_dim: width C of queries and of the result.
        num_heads: H; must divide `embed_dim`.
        kdim, vdim: widths of keys and values, `embed_dim` if None.
        dropout: probability of dropping an attention probability.
        bias: give the four projections a bias.
        add_bias_kv: attend to one more, trained key and value.
        add_zero_attn: attend to one more key and value of zeros.
        self_attention: keys and values are projected from the query.
        encoder_decoder_attention: keys and values are both projected from `key`.
        q_noise, qn_block_size: quantization noise on the projections.
    """

    implementations: tuple[Implementation, ...] = (FusedInteger(), FusedFloat(), StepByStep())

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        kdim: Optional[int] = None,
        vdim: Optional[int] = None,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        self_attention: bool = False,
        encoder_decoder_attention: bool = False,
        dictionary: Optional[Any] = None,
        q_noise: float = 0.0,
        qn_block_size: int = 8,
    ):
        super().__init__()
        if embed_dim % num_heads:
            raise ConfigError(f"attention heads: {num_heads} does not divide the width {embed_dim}")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.qkv_same_dim = self.kdim == embed_dim and self.vdim == embed_dim
        if self_attention and not self.qkv_same_dim:
            raise ConfigError("self-attention needs queries, keys and values of one width")
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.scaling = self.head_dim**-0.5
        self.skip_embed_dim_check = False
        self.self_attention = self_attention
        self.encoder_decoder_attention = encoder_decoder_attention
        self.add_zero_attn = add_zero_attn

        self.dropout_module = FairseqDropout(dropout, module_name=type(self).__name__)
        self.k_proj = self._projection(self.kdim, embed_dim, bias, q_noise, qn_block_size)
        self.v_proj = self._projection(self.vdim, embed_dim, bias, q_noise, qn_block_size)
        self.q_proj = self._projection(embed_dim, embed_dim, bias, q_noise, qn_block_size)
        self.out_proj = self._projection(embed_dim, embed_dim, bias, q_noise, qn_block_size)
        self.qk_matmul = MatMul("query", "key")
        self.pv_matmul = MatMul("probs", "value", "output")
        self.cache: Optional[KeyValueCache] = None  # of decoders
        self.bias_k = nn.Parameter(torch.empty(1, 1, embed_dim)) if add_bias_kv else None
        self.bias_v = nn.Parameter(torch.empty(1, 1, embed_dim)) if add_bias_kv else None
        self.reset_parameters()

    @staticmethod
    def _projection(inputs: int, outputs: int, bias: bool, q_noise: float, qn_block_size: int) -> nn.Linear:
        return quant_noise(QLinear(inputs, outputs, bias=bias, quantized=False), q_noise, qn_block_size)

    def reset_parameters(self) -> None:
        """Xavier-uniform weights; one gain for q, k, v as if they were slices of a single matrix."""
        gain = 1 / math.sqrt(2) if self.qkv_same_dim else 1.0
        for projection in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.xavier_uniform_(projection.weight, gain=gain)
        nn.init.xavier_uniform_(self.out_proj.weight)
        if self.out_proj.bias is not None:
            nn.init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                nn.init.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
        key_padding_mask: Optional[Tensor] = None,
        incremental_state: Optional[IncrementalState] = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Optional[Tensor] = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Attend from `query` (T, B, C) to `key` and `value` (S, B, kdim / vdim).

        Keys and values may have fewer rows than queries: K queries in succession then share a row.

        Args:
            key_padding_mask: (B, S), true at padding.
            incremental_state: where keys and values are kept between decoding steps; one new query per step.
            need_weights: return the probabilities, averaged over heads.
            static_kv: with `incremental_state`, project keys and values once and reuse them (attention to an encoder).
            attn_mask: (T, S); numbers added to the scores, or true where attention is forbidden.
            before_softmax: return masked scores (B*H, T, S) and projected values (B*H, S, D) instead.
            need_head_weights: return the probabilities of each head.
            num_bits: bits of the quantizers that follow.

        Returns:
            The result (T, B, C), and probabilities (B, T, S) or (H, B, T, S) before dropout, or None.
        """
        need_weights = need_weights or need_head_weights
        with self._one_set_of_codes(query):  # the three projections share them
            q = self.q_proj(query, **bits_for(self.q_proj, num_bits))  # (T, B, C)
            if self._has_caches(incremental_state) and attn_mask is None and not before_softmax:
                found = steps.attend(
                    self, q, (query, key, value), key_padding_mask, incremental_state, static_kv, num_bits,
                    (need_weights, need_head_weights),
                )  # fmt: skip
                if found is not None:
                    return self.out_proj(found[0], **bits_for(self.out_proj, num_bits)), found[1]
            k, v, key_padding_mask, attn_mask = self._keys_and_values(
                query, key, value, key_padding_mask, attn_mask, incremental_state, static_kv, num_bits
            )  # (B*H, S, D) each
        queries = q.size(1) * self.num_heads // k.size(0)  # per row of keys
        if queries > 1:
            q = _beside(q, queries)
        mask = additive_mask(key_padding_mask, attn_mask, q.dtype)
        operands = Operands(q, k, v, mask, num_bits, need_weights)
        if before_softmax:
            return StepByStep.scores(self, operands), v
        context, probs = self._attend(operands)
        weights = None if probs is None else self._weights(probs, queries, need_head_weights)
        x = merge_heads(context, self.num_heads)
        if queries > 1:
            x = _in_succession(x, queries)
        return self.out_proj(x, **bits_for(self.out_proj, num_bits)), weights

    def _has_caches(self, incremental_state: Optional[IncrementalState]) -> TypeGuard[OwnStates]:
        """Whether this module may keep a cache in `incremental_state`: no subclass, and its own ways to attend."""
        plain = type(self) is MultiheadAttention and "implementations" not in vars(self)
        return plain and isinstance(incremental_state, OwnStates)

    def _attend(self, operands: Operands) -> Result:
        """The context (B*H, T, D), and the probabilities where they are wanted, by the first that can."""
        for implementation in self.implementations:
            if implementation.can_run(self, operands):
                result = implementation.run(self, operands)
                if result is not None:
                    return result
        raise ConfigError("attention: none of its implementations can run; StepByStep always can")

    def _one_set_of_codes(self, query: Tensor) -> contextlib.AbstractContextManager[None]:
        """A block in which nothing writes to `query`, also where tensors count no writes: in inference mode."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        quantizers = self.q_proj.quantizers if type(self.q_proj) is QLinear else None
        if quantizers is None or not query.is_inference() or any(has_hooks(each) for each in projections):
            return contextlib.nullcontext()
        return quantizers.context.vouching(query)

    def _weights(self, probs: Tensor, queries: int, each_head: bool) -> Tensor:
        probs = probs.float().unflatten(0, (-1, self.num_heads))  # (B, H, T, S)
        if queries > 1:  # (B, H, T*K, S) -> (B*K, H, T, S)
            probs = probs.unflatten(2, (-1, queries)).permute(0, 3, 1, 2, 4).flatten(0, 1)
        return probs.transpose(0, 1) if each_head else probs.mean(dim=1)

    def _keys_and_values(
        self,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
        key_padding_mask: Optional[Tensor],
        attn_mask: Optional[Tensor],
        incremental_state: Optional[IncrementalState],
        static_kv: bool,
        num_bits: Optional[int],
    ) -> tuple[Tensor, Tensor, Optional[Tensor], Optional[Tensor]]:
        """All that is attended to, (B*H, S, D) each, with masks of that length."""
        kept = self._get_input_buffer(incremental_state)
        if static_kv and kept:
            k, v, key_padding_mask = state.load(kept)
        else:
            k, v = self._project(query, key, value, num_bits)
            if self.bias_k is not None and self.bias_v is not None:
                k, v = (torch.cat([x, b.expand(1, x.size(1), -1)]) for x, b in ((k, self.bias_k), (v, self.bias_v)))
                key_padding_mask, attn_mask = with_extra_key(key_padding_mask), with_extra_key(attn_mask)
            k, v = split_heads(k, self.num_heads), split_heads(v, self.num_heads)
            if incremental_state is not None or kept:
                if self.cache is not None:
                    k, v = self.cache.rounded(k), self.cache.rounded(v)
                extended = state.extend(kept, k, v, key_padding_mask, self.num_heads)
                k, v, key_padding_mask = state.load(extended)
                queries = query.size(1) * self.num_heads // k.size(0)
                if queries > 1:
                    extended["queries_per_key"] = torch.tensor(queries)
                if incremental_state is not None:
                    self._set_input_buffer(incremental_state, extended)
        if self.add_zero_attn:
            k, v = (torch.cat([x, x.new_zeros(x.size(0), 1, x.size(2))], dim=1) for x in (k, v))
            key_padding_mask, attn_mask = with_extra_key(key_padding_mask), with_extra_key(attn_mask)
        return k, v, key_padding_mask, attn_mask

    def _project(
        self, query: Tensor, key: Optional[Tensor], value: Optional[Tensor], num_bits: Optional[int]
    ) -> tuple[Tensor, Tensor]:
        if self.self_attention:
            key = value = query
        elif self.encoder_decoder_attention:
            value = key
        if key is None or value is None:
            raise ValueError("attention needs keys and values: none were given and none are kept from an earlier step")
        k = self.k_proj(key, **bits_for(self.k_proj, num_bits))
        return k, self.v_proj(value, **bits_for(self.v_proj, num_bits))  # (S, B, C) each

    # --- incremental decoding -------------------------------------------------------------------------------------

    def get_incremental_state(
        self, incremental_state: Optional[IncrementalState], key: str
    ) -> Optional[dict[str, Optional[Tensor]]]:
        """As everywhere; who asks for attention's state gets the ordinary one, in place of a cache."""
        if incremental_state is not None and key == "attn_state":
            cache = steps.kept(incremental_state, self._full_key(steps.KEY))
            if cache is not None:
                del incremental_state[self._full_key(steps.KEY)]
                super().set_incremental_state(incremental_state, key, cache.state())
        return super().get_incremental_state(incremental_state, key)

    def _get_input_buffer(self, incremental_state: Optional[IncrementalState]) -> state.State:
        return self.get_incremental_state(incremental_state, "attn_state") or {}

    def _set_input_buffer(self, incremental_state: IncrementalState, buffer: state.State) -> None:
        incremental_state.pop(self._full_key(steps.KEY), None)
        self.set_incremental_state(incremental_state, "attn_state", buffer)

    def reorder_incremental_state(self, incremental_state: IncrementalState, new_order: Tensor) -> None:
        """Rearrange the kept rows to follow beam search."""
        cache = steps.kept(incremental_state, self._full_key(steps.KEY))
        if cache is not None:
            steps.keep(incremental_state, self._full_key(steps.KEY), cache.reordered(new_order))
            return
        kept = self._get_input_buffer(incremental_state)
        if kept:
            self._set_input_buffer(incremental_state, state.reorder(kept, new_order))

    # --- pruning --------------------------------------------------------------------------------------------------

    def _get_reserve_head_index(self, num_heads_to_keep: int) -> list[tuple[int, int]]:
        return pruning.strongest_heads(self, num_heads_to_keep)

    def _adaptive_prune_heads(self, reserve_head_index: list[tuple[int, int]]) -> None:
        pruning.keep_heads(self, reserve_head_index)

    def _set_skip_embed_dim_check(self) -> None:
        """fairseq's forward compares widths unless this was called; there is no such check here."""
        self.skip_embed_dim_check = True

    # --- old checkpoints ------------------------------------------------------------------------------------------

    def upgrade_state_dict_named(self, state_dict: dict[str, Tensor], name: str) -> None:
        """Cut the single input projection of old checkpoints into q, k and v."""
        prefix = f"{name}." if name else ""
        for kind in ("weight", "bias"):
            joined = state_dict.pop(f"{prefix}in_proj_{kind}", None)
            if joined is not None:
                for part, rows in zip("qkv", joined.chunk(3), strict=True):
                    state_dict[f"{prefix}{part}_proj.{kind}"] = rows
