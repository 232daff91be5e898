"""BART from Python: the same calls on the same folder under fairseq 0.12 and under ours.

write_folder(folder)                                 # model.pt, dict.txt, encoder.json, vocab.bpe
results(BARTModel.from_pretrained(folder, ...))      # name of the call -> what came of it, for JSON
"""

from pathlib import Path
from typing import Any

import hub_cases
import torch
from pretraining_models import bart_args, bart_weights, size_of, write

SENTENCES = ["hello world", " Hello  worlds.", "the café 東京", ""]
MASKED = ["the world <mask>", "hello<mask> world", "he said <mask>, then <mask> left"]


def write_folder(folder: Path) -> Path:
    """The BPE and dictionary of hub_cases.py, and a model with one head."""
    hub_cases.write_folder(folder)
    weights = bart_weights(size_of(folder / "dict.txt"), heads=3)
    write(folder / "model.pt", bart_args(), weights)
    return folder


def results(bart: Any) -> dict[str, Any]:
    """Every call of the interface."""
    bart.eval()
    found: dict[str, Any] = {}
    tokens = [bart.encode(text) for text in SENTENCES]
    found["encode"] = [ids.tolist() for ids in tokens]
    found["decode"] = [bart.decode(ids) for ids in tokens[:-1]]
    pair = bart.encode("hello world", "the world", "he")
    found["encode several"] = pair.tolist()
    found["encode a long one"] = bart.encode("a b c d " * 40).tolist()
    with_separator = bart.encode("hello", "world", no_separator=False)
    found["encode with separator"] = [with_separator.tolist(), bart.decode(with_separator)]
    with torch.no_grad():
        found["features"] = bart.extract_features(tokens[0]).tolist()
        found["features of several"] = bart.extract_features(torch.stack([pair, pair.flip(0)])).tolist()
        layers = bart.extract_features(tokens[0], return_all_hiddens=True)
        found["all layers"] = [layer.tolist() for layer in layers]
        found["predict"] = bart.predict("labels", tokens[1]).tolist()
        found["logits"] = bart.predict("labels", torch.stack([pair, pair]), return_logits=True).tolist()
        torch.manual_seed(4)
        bart.register_classification_head("fresh", num_classes=4)
        found["fresh head"] = bart.predict("fresh", tokens[0]).tolist()
        for name, settings in GENERATION.items():
            outputs = bart.generate(tokens[:3], **settings)
            found[f"generate {name}"] = [[hypothesis(each) for each in hypotheses] for hypotheses in outputs]
        found["sample"] = bart.sample(SENTENCES[:3], beam=3, max_len_b=8)
        # one by one: of several, fairseq 0.12 makes all as long as the longest
        found["fill_mask"] = [filled(bart.fill_mask([text], topk=2, beam=4)) for text in MASKED]
        any_length = bart.fill_mask(MASKED[:1], topk=3, match_source_len=False, beam=3, max_len_b=7)
        found["fill_mask of any length"] = filled(any_length)
    return found


GENERATION: dict[str, dict[str, Any]] = {
    "beam 1": {"beam": 1, "max_len_b": 9},
    "beam 4": {"beam": 4, "max_len_b": 9, "lenpen": 2.0, "min_len": 4},
}


def hypothesis(found: dict[str, Any]) -> dict[str, Any]:
    """What a hypothesis says."""
    return {
        "tokens": found["tokens"].tolist(),
        "score": float(found["score"]),
        "positional_scores": found["positional_scores"].tolist(),
    }


def filled(found: list[list[tuple[str, Any]]]) -> list[list[tuple[str, float]]]:
    """Texts with their scores as numbers."""
    return [[(text, float(score)) for text, score in each] for each in found]
