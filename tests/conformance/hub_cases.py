"""RoBERTa from Python: the same calls on the same folder under fairseq 0.12 and under ours.

write_folder(folder)                                    # model.pt, dict.txt, encoder.json, vocab.bpe
results(RobertaModel.from_pretrained(folder, ...))      # name of the call -> what came of it, for JSON
"""

import json
from pathlib import Path
from typing import Any

import torch
from training_cases import HEAD, write_start

SENTENCES = ["hello world", " Hello  worlds!", "the naïve café \u2013 東京 🙂", "", "a <mask> b"]
MASKED = ["the world <mask>", "hello<mask> world.", "<mask> hello", "he said <mask>, then left"]
WORDS = ["the ", "worldly ", "there, ", "hello"]
MERGES = ["h e", "l l", "Ġ w", "o r", "he ll", "Ġw or", "Ġ t", "Ġt he", "ï v", "c a", "Ġ hell"]


def write_folder(folder: Path) -> Path:
    """A byte-level BPE of a few merges, its dictionary in another order, and a model with one head."""
    # every byte is a character: those that print stand for themselves, the others follow from 256 on
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    symbols = [chr(byte) for byte in printing] + [chr(256 + n) for n in range(len(others))]
    symbols += [merge.replace(" ", "") for merge in MERGES]
    folder.mkdir(parents=True, exist_ok=True)
    ids = {symbol: number for number, symbol in enumerate(symbols)}
    (folder / "encoder.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "vocab.bpe").write_text("#version: 0.2\n" + "".join(f"{m}\n" for m in MERGES), encoding="utf-8")
    order = sorted(ids.values(), key=lambda number: (number * 7) % 271)
    kept = [number for number in order if number != ids["!"]]  # "!" is <unk>
    (folder / "dict.txt").write_text("".join(f"{number} {1000 - place}\n" for place, number in enumerate(kept)))
    write_start(folder / "model.pt", folder / "dict.txt", classes=3)
    return folder


def settings(folder: Path) -> dict[str, str]:
    """Where the BPE's files lie; fairseq 0.12 looks for them on the internet otherwise."""
    return {"gpt2_encoder_json": str(folder / "encoder.json"), "gpt2_vocab_bpe": str(folder / "vocab.bpe")}


def results(roberta: Any, alignment_utils: Any) -> dict[str, Any]:
    """Every call of the interface."""
    roberta.eval()
    found: dict[str, Any] = {}
    tokens = {text: roberta.encode(text) for text in SENTENCES}
    found["encode"] = {text: ids.tolist() for text, ids in tokens.items()}
    found["decode"] = {text: roberta.decode(ids) for text, ids in tokens.items() if text}
    pair = roberta.encode("hello world", "the world", "he")
    found["encode several"] = pair.tolist()
    found["encode without separator"] = roberta.encode("hello", "world", no_separator=True).tolist()
    found["decode several"] = roberta.decode(pair)
    with torch.no_grad():
        found["features"] = roberta.extract_features(pair).tolist()
        layers = roberta.extract_features(tokens["hello world"], return_all_hiddens=True)
        found["all layers"] = [layer.tolist() for layer in layers]
        found["predict"] = roberta.predict(HEAD, pair).tolist()
        found["logits"] = roberta.predict(HEAD, torch.stack([pair, pair]), return_logits=True).tolist()
        torch.manual_seed(4)
        roberta.register_classification_head("fresh", num_classes=4)
        found["fresh head"] = roberta.predict("fresh", pair).tolist()
        found["fill_mask"] = [roberta.fill_mask(text, topk=4) for text in MASKED]
        ids = roberta.encode("".join(WORDS))
        alignment = alignment_utils.align_bpe_to_words(roberta, ids, WORDS)
        found["alignment"] = [list(map(int, numbers)) for numbers in alignment]
        features = roberta.extract_features(ids).squeeze(0)
        found["aligned"] = alignment_utils.align_features_to_words(roberta, features, alignment).tolist()
    return found
