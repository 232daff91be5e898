"""One side of `predict.py` in its own process: a model that goes through all lines at each `step`."""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path


def build(spec):
    """A function that predicts all lines in their order, and returns the labels."""
    lines = Path(spec["lines"]).read_text(encoding="utf-8").splitlines()
    if spec["library"] == "transformers":
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

        model = AutoModelForSequenceClassification.from_pretrained(spec["model"], dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(spec["model"])
        classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
        return lambda: [found["label"] for found in classify(lines, batch_size=spec["batch_size"])]
    from fairseq.allocator import keep_freed_memory
    from fairseq.prediction.predictor import Predictor

    keep_freed_memory()
    predictor = Predictor.from_checkpoint(spec["model"])
    examples, window = [(line,) for line in lines], 16 * spec["batch_size"]

    def predict():
        labels = []
        for start in range(0, len(examples), window):  # as the command does
            part = examples[start : start + window]
            labels += [r["label"] for r in predictor.predict(part, spec["batch_size"], by_length=spec["sort"])]
        return labels

    return predict


def main():
    spec = json.loads(sys.argv[1])
    replies, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    if spec["library"] == "ours":
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import torch

    torch.set_num_threads(spec["threads"])
    predict = build(spec)
    libraries = ["torch"] + (["transformers"] if spec["library"] == "transformers" else [])
    print(json.dumps({library: version(library) for library in libraries}), file=replies, flush=True)
    for _ in sys.stdin:
        seconds, processor = time.perf_counter(), time.process_time()
        labels = predict()
        taken = {"seconds": time.perf_counter() - seconds, "processor": time.process_time() - processor}
        print(json.dumps({**taken, "labels": labels}), file=replies, flush=True)


if __name__ == "__main__":
    main()
