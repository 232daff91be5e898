"""Tiny translation and language models for the generation cases, under fairseq 0.12 and under this package.

`train` writes tests/fixtures/generation/{forward,backward,language}.pt: state dicts of models that have learned a noisy
toy language for a few seconds, so that their beams are neither certain nor random. `load` reads them.

The toy language: a target is its source's words in reverse, each word w as w + 1; some words are doubled, lost or
unknown.
"""

from argparse import Namespace
from pathlib import Path

import torch

WEIGHTS = Path(__file__).resolve().parent.parent / "fixtures" / "generation"
WORDS = 32
SIZE = {
    "encoder_embed_dim": 16,
    "decoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "decoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "max_source_positions": 64,
    "max_target_positions": 64,
    "dropout": 0.0,
}
KINDS = {
    "forward": {"share_decoder_input_output_embed": True},
    "backward": {"encoder_normalize_before": True, "decoder_normalize_before": True, "decoder_learned_pos": True},
    "language": {"share_decoder_input_output_embed": True},
}


def dictionary():
    from fairseq.data import Dictionary

    result = Dictionary()
    for number in range(WORDS):
        result.add_symbol(f"w{number}", n=100 - number)
    return result


def build(kind):
    from fairseq import models
    from fairseq.models import FairseqLanguageModel
    from fairseq.models.transformer import Embedding, TransformerDecoder, base_architecture

    words = dictionary()
    args = Namespace(arch="transformer", **SIZE, **KINDS[kind])
    if kind == "language":
        base_architecture(args)
        embedding = Embedding(len(words), args.decoder_embed_dim, words.pad())
        return FairseqLanguageModel(TransformerDecoder(args, words, embedding, no_encoder_attn=True))
    return models.build_model(args, Namespace(source_dictionary=words, target_dictionary=words))


def load(kind):
    model = build(kind)
    model.load_state_dict(torch.load(WEIGHTS / f"{kind}.pt", weights_only=True))
    return model.eval()


def batch(generator, size=32):
    """Sources (B, S) padded left and targets (B, T) padded right, both with eos at the end."""
    from fairseq.data import data_utils

    def number(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    pairs = []
    for _ in range(size):
        source = torch.randint(4, 4 + WORDS, (number(2, 8),), generator=generator).tolist()
        target = []
        for word in reversed(source):
            copies = (0, 1, 1, 1, 1, 2)[number(0, 6)]
            target += [3 if number(0, 12) == 0 else 4 + (word - 3) % WORDS] * copies
        pairs.append((torch.tensor([*source, 2]), torch.tensor([*target, 2])))
    sources, targets = zip(*pairs, strict=True)
    return (
        data_utils.collate_tokens(list(sources), 1, left_pad=True),
        data_utils.collate_tokens(list(targets), 1),
        torch.tensor([len(source) for source in sources]),
    )


def train(kind, updates=700):
    torch.manual_seed(len(kind))
    generator = torch.Generator().manual_seed(len(kind))
    model = build(kind).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for update in range(updates):
        sources, targets, lengths = batch(generator)
        previous = torch.cat(
            [torch.full_like(targets[:, :1], 2), targets[:, :-1].masked_fill(targets[:, :-1] == 2, 1)], 1
        )
        scores = model(previous)[0] if kind == "language" else model(sources, lengths, previous)[0]
        loss = torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=1, label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 100 == 99:
            optimizer.param_groups[0]["lr"] *= 0.7
            print(f"{kind}: update {update + 1}, loss {loss.item():.3f}")
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    torch.save({name: value.clone() for name, value in model.state_dict().items()}, WEIGHTS / f"{kind}.pt")


if __name__ == "__main__":
    for kind in KINDS:
        train(kind)
