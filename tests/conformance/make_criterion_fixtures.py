"""Writes tests/fixtures/criterions.json: losses and logged values of fairseq 0.12's criterions on fixed logits.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    python tests/conformance/make_criterion_fixtures.py

A case has batches of `logits` and `target`, the loss and sample size of each, and the values logged over all of them.
test_criterion_values.py runs ours on the same stub model.
"""

import json
import types
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "criterions.json"
PAD = 1
LABELS = ["1", "0", "2"]
REPORTS = ("report_mcc", "report_acc_and_f1", "report_pearson_and_spearman")


class StubModel(torch.nn.Module):
    """Returns the logits it was given, whatever the input."""

    classification_heads = {"sentence_classification_head": None}

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, masked_tokens=None, index=None, **unused):
        logits = self.logits if index is None else self.logits[:, index : index + 1]
        return (logits[masked_tokens] if masked_tokens is not None else logits), None

    def get_targets(self, sample, net_output):
        return sample["target"]

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        return torch.log_softmax(net_output[0].float(), dim=-1)


class StubDictionary:
    nspecial = 4

    def __len__(self):
        return self.nspecial + len(LABELS)

    def __getitem__(self, index):
        return LABELS[index - self.nspecial]

    def string(self, ids):
        return " ".join(self[int(index)] for index in ids)

    def pad(self):
        return PAD


def stub_task(num_classes=3):
    dictionary = StubDictionary()
    args = types.SimpleNamespace(num_classes=num_classes)
    return types.SimpleNamespace(
        label_dictionary=dictionary, target_dictionary=dictionary, source_dictionary=dictionary, args=args, cfg=args
    )


def make_sample(target, num_candidates=0):
    target = torch.tensor(target)
    inputs = {f"net_input{i + 1}": {"index": i} for i in range(num_candidates)}
    nsentences = target.size(0)
    return {
        "id": torch.arange(nsentences),
        "net_input": {},
        "target": target,
        "ntokens": 7 * nsentences,
        "nsentences": nsentences,
        **inputs,
    }


def run(build, case, aggregate):
    """Losses of all batches and what is logged over them; `build` makes the criterion."""
    criterion = build(case["criterion"], types.SimpleNamespace(**case["config"]), stub_task())
    criterion.train(case["train"])
    ranked = case["criterion"] == "sentence_ranking"
    losses = []
    with aggregate(new_root=True) as logged:
        for logits, target in case["batches"]:
            sample = make_sample(target, num_candidates=3 if ranked else 0)
            model = StubModel(torch.tensor(logits))
            model.train(case["train"])
            loss, sample_size, output = criterion(model, sample)
            losses.append([float(loss), int(sample_size)])
            type(criterion).reduce_metrics([output])
    values = {key: float(value) for key, value in logged.get_smoothed_values().items() if key not in ("pred", "targ")}
    return {"losses": losses, "logged": values}


def make_cases():
    torch.manual_seed(0)

    def batches(sizes, num_classes, targets):
        made = []
        for size in sizes:
            logits = torch.randn(size, num_classes) if isinstance(size, int) else torch.randn(*size, num_classes)
            made.append([logits.tolist(), targets(size)])
        return made

    def ids(num_classes):
        return lambda size: torch.randint(num_classes, (size,)).tolist()

    def tokens(size):
        target = torch.randint(2, 9, size)
        target[:, -1] = PAD
        return target.tolist()

    def masked(size):
        target = torch.full(size, PAD)
        target[:, ::2] = torch.randint(2, 9, target[:, ::2].shape)
        return target.tolist()

    def prediction(**options):
        defaults = {"classification_head_name": "sentence_classification_head", "regression_target": False}
        return {**defaults, **dict.fromkeys(REPORTS, False), **options}

    three, two = batches([5, 6, 2], 3, ids(3)), batches([7, 4, 9], 2, ids(2))
    numbers = batches([6, 3, 8], 1, lambda size: torch.rand(size).tolist())
    one_class = batches([4, 4], 2, lambda size: [0] * size)
    text, masks = batches([(2, 5), (3, 4)], 9, tokens), batches([(2, 5), (3, 4)], 9, masked)
    no_mask = batches([(2, 3)], 9, lambda size: torch.full(size, PAD).tolist())
    yield "sentence_prediction", prediction(), True, three
    yield "sentence_prediction", prediction(), False, three
    yield "sentence_prediction", prediction(report_mcc=True), True, two
    yield "sentence_prediction", prediction(report_mcc=True), False, three
    yield "sentence_prediction", prediction(report_mcc=True, report_acc_and_f1=True), False, two
    yield "sentence_prediction", prediction(report_mcc=True, report_acc_and_f1=True), False, one_class
    yield "sentence_prediction", prediction(regression_target=True), True, numbers
    yield (
        "sentence_prediction",
        prediction(regression_target=True, report_pearson_and_spearman=True),
        False,
        numbers,
    )
    yield "cross_entropy", {"sentence_avg": False}, True, text
    yield "cross_entropy", {"sentence_avg": True}, True, text
    smoothed = {"sentence_avg": False, "label_smoothing": 0.1, "ignore_prefix_size": 0, "report_accuracy": False}
    yield "label_smoothed_cross_entropy", smoothed, True, text
    yield "label_smoothed_cross_entropy", {**smoothed, "report_accuracy": True, "ignore_prefix_size": 1}, False, text
    yield "masked_lm", {"tpu": False}, True, masks
    yield "masked_lm", {"tpu": False}, True, no_mask + masks
    yield (
        "sentence_ranking",
        {"ranking_head_name": "sentence_classification_head", "save_predictions": None, "num_classes": 3},
        True,
        three,
    )


def main() -> None:
    """Run every case under fairseq 0.12 and write the file."""
    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.logging import metrics

    def build(name, config, task):
        return CRITERION_REGISTRY[name].build_criterion(config, task)

    cases = []
    for criterion, config, train, batches in make_cases():
        case = {"criterion": criterion, "config": config, "train": train, "batches": batches}
        cases.append({**case, **run(build, case, metrics.aggregate)})
    OUT.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(cases)} cases in {OUT}")


if __name__ == "__main__":
    main()
