"""Attention that sees where it was before (Chorowski et al., arXiv:1506.07503).

energy = w tanh(W h_enc + V h_dec + U conv(attention so far)),  probabilities = softmax(scaling * energy)
"""

from typing import Optional

import torch
from torch import Tensor, nn


class LocationAttention(nn.Module):
    """One decoder step's attention over an encoder's outputs.

    Args:
        attn_dim: width of the sum in the formula.
        attn_state_kernel_size: channels of what attention did so far.
        conv_dim, conv_kernel_size: of the convolution; it sees 2 * conv_kernel_size + 1 steps.
    """

    def __init__(
        self,
        attn_dim: int,
        encoder_dim: int,
        decoder_dim: int,
        attn_state_kernel_size: int,
        conv_dim: int,
        conv_kernel_size: int,
        scaling: float = 2.0,
    ):
        super().__init__()
        self.attn_dim, self.decoder_dim, self.scaling = attn_dim, decoder_dim, scaling
        self.proj_enc = nn.Linear(encoder_dim, attn_dim)
        self.proj_dec = nn.Linear(decoder_dim, attn_dim, bias=False)
        self.proj_attn = nn.Linear(conv_dim, attn_dim, bias=False)
        width = 2 * conv_kernel_size + 1
        self.conv = nn.Conv1d(attn_state_kernel_size, conv_dim, width, padding=conv_kernel_size, bias=False)
        self.proj_out = nn.Sequential(nn.Tanh(), nn.Linear(attn_dim, 1))
        self.proj_enc_out: Optional[Tensor] = None  # of one sentence, kept from step to step

    def clear_cache(self) -> None:
        """Before another batch."""
        self.proj_enc_out = None

    def forward(
        self,
        encoder_out: Tensor,
        encoder_padding_mask: Optional[Tensor],
        decoder_h: Optional[Tensor],
        attn_state: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Context (B, encoder_dim) and probabilities (B, T).

        Args:
            encoder_out: (B, T, encoder_dim).
            encoder_padding_mask: (B, T), True at padding.
            decoder_h: (B, decoder_dim); zeros for None.
            attn_state: (B, attn_state_kernel_size, T).
        """
        if self.proj_enc_out is None:
            self.proj_enc_out = self.proj_enc(encoder_out)
        attn = self.proj_attn(self.conv(attn_state).transpose(1, 2))
        if decoder_h is None:
            decoder_h = encoder_out.new_zeros(encoder_out.size(0), self.decoder_dim)
        energy = self.proj_out(attn + self.proj_enc_out + self.proj_dec(decoder_h).unsqueeze(1)).squeeze(2)
        if encoder_padding_mask is not None:
            energy = energy.masked_fill(encoder_padding_mask, float("-inf"))
        probs = torch.softmax(self.scaling * energy, dim=1)
        return (encoder_out * probs.unsqueeze(2)).sum(1), probs
