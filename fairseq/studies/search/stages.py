"""What one trial does: train; compress by passes; train again; score after each.

    stage        what is scored
    none         the trained model
    compressed   the trained model after the passes of `fairseq-graph transform`
    finetuned    that, after training with the words of `finetune` in addition
    control      the trained model after the same training, without compression

Each run has a folder, whose name says what was asked: equal runs are done once, also by two processes.
"""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from fairseq.dataclass.initialize import compose
from fairseq.errors import DataError, FairseqError, reason
from fairseq.graph.transforming import transform
from fairseq.studies.isolation import isolated
from fairseq.studies.one_run import run_training
from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.costs import MIB
from fairseq.studies.search.loaded_model import LoadedModel, Reader, scores_of
from fairseq.studies.search.run_folder import Run
from fairseq.studies.search.spaces import Assignment, quantization_words
from fairseq.studies.search.words import word
from fairseq.studies.search.workers import locked

ONLY_LAST = ("checkpoint.no_epoch_checkpoints=true", "checkpoint.keep_best_checkpoints=-1")

Report = Callable[[int, Mapping[str, float]], bool]  # update, numbers -> whether the trial is pruned


class Pruned(Exception):
    """The pruner ended a trial."""


@dataclass
class Outcome:
    """What a trial has reached.

    Attributes:
        metrics: of the last stage, and its model's costs.
        stages: the same of every stage that was run.
        trained: the checkpoint of the first training, before any compression; None where it was not kept.
    """

    metrics: dict[str, Any]
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    trained: Optional[Path] = None


@dataclass(frozen=True)
class Subsets:
    """What is trained on, and what scores."""

    train: str
    score: str

    def words(self) -> list[str]:
        return [word("dataset.train_subset", self.train), word("dataset.valid_subset", self.score)]


class Stages:
    """Runs trials.

    Args:
        runs: the folder of their folders.
        subsets: for all of them.
        keep: whether checkpoints stay.
    """

    def __init__(self, config: SearchConfig, runs: Path, subsets: Subsets, keep: bool = False):
        self.config, self.runs, self.subsets, self.keep = config, runs, subsets, keep
        self._reader: Optional[Reader] = None  # made with the first trial

    def run(
        self, assignment: Assignment, stage: str, report: Optional[Report] = None, name: Optional[str] = None
    ) -> Outcome:
        """Run a trial up to `stage`.

        Args:
            report: called at each validation of the first training.
            name: of the folders, instead of one that equal runs share.

        Raises:
            FairseqError: why it has no result. Pruned: `report` said so.
        """
        words = [*self.config.common, *assignment.words, *self.subsets.words()]
        trained = self._train(words, name, report, needs_weights=stage != "none" or self.keep)
        runs, done = {"none": trained}, trained
        start, own = trained, list(self.config.finetune)
        if stage in ("compressed", "finetuned"):
            done = runs["compressed"] = self._compress(trained, assignment, name, needs_weights=stage == "finetuned")
            start = done if assignment.passes else trained
            own += quantization_words(assignment.quantization)
        if stage in ("finetuned", "control"):
            again = [
                *words, *own, "checkpoint.restore_file=checkpoint_last.pt",
                word("checkpoint.finetune_from_model", str(start.checkpoint.absolute())),
            ]  # fmt: skip
            done = runs[stage] = self._train(again, None if name is None else f"{name}-{stage}", None, first=start)
        self._drop_weights(runs)
        stages = {key: run.numbers for key, run in runs.items()}
        return Outcome(done.numbers, stages, trained.checkpoint if self.keep else None)

    def _drop_weights(self, runs: Mapping[str, Run]) -> None:
        """Checkpoints that nobody needs any more go; trials that compress a model, or train it again, share it."""
        shared = ("none", "compressed") if self.config.compresses and self.config.reuse else ()
        for stage, run in runs.items():
            if not self.keep and stage not in shared:
                run.drop_weights()

    def _train(
        self,
        words: Sequence[str],
        name: Optional[str],
        report: Optional[Report],
        first: Optional[Run] = None,
        needs_weights: bool = False,
    ) -> Run:
        """The run with these words, which starts from the weights of `first`."""
        key = [word for word in words if not word.startswith("checkpoint.finetune_from_model=")]
        key += [_content(self.config), *([first.key] if first is not None else [])]
        with self._run(key, name) as run:
            curve = run.result.get("curve", [])
            if report is not None and any(report(step, numbers) for step, numbers in curve):
                raise Pruned
            if not run.is_done or (needs_weights and not run.checkpoint.is_file()):
                if first is not None:
                    first.require_weights()
                self._train_in(run, words, report)
            return run

    def _train_in(self, run: Run, words: Sequence[str], report: Optional[Report]) -> None:
        curve: list[tuple[int, dict[str, float]]] = []
        pruned = False

        def on_validation(stats: dict[str, Any]) -> Optional[str]:
            nonlocal pruned
            curve.append((int(stats["num_updates"]), scores_of(stats)))
            pruned = report is not None and report(*curve[-1])
            return "the search's pruner ends this run" if pruned else None

        run.clear()
        result = run_training(
            [*words, *ONLY_LAST],
            config_dir=self.config.config_dir,
            config_name=self.config.config_name,
            folder=run.folder,
            on_validation=on_validation,
        )
        if pruned:
            run.clear()
            raise Pruned
        numbers: dict[str, Any] = scores_of(result.metrics)
        with self._logged(run):
            numbers |= self._loaded(run.checkpoint).costs(self._repeats)
        numbers["training_bitops"] = result.bitops
        numbers["peak_memory"] = None if result.peak_memory is None else result.peak_memory / MIB
        numbers["seconds"] = result.seconds
        run.write({"metrics": numbers, "curve": curve, "words": list(words)})

    def _compress(self, trained: Run, assignment: Assignment, name: Optional[str], needs_weights: bool = False) -> Run:
        """The passes, then the quantizers of each layer; there is a checkpoint if there are passes."""
        passes = {key: dict(options) for key, options in assignment.passes.items()}
        asked = json.dumps([passes, assignment.quantization])
        with self._run([trained.key, asked], None if name is None else f"{name}-compressed") as run:
            if run.is_done and not (needs_weights and passes and not run.checkpoint.is_file()):
                return run
            start = time.perf_counter()
            run.clear()
            with self._logged(run):
                trained.require_weights()
                if passes:
                    _transform(trained, passes, run)
                loaded = self._loaded(run.checkpoint if passes else trained.checkpoint, assignment.quantization)
                numbers: dict[str, Any] = loaded.scores() | loaded.costs(self._repeats)
            numbers["seconds"] = time.perf_counter() - start
            run.write({"metrics": numbers, "passes": passes, "quantization": assignment.quantization})
            return run

    @property
    def _repeats(self) -> int:
        wanted = any(objective.metric == "latency" for objective in self.config.objectives)
        return self.config.latency_repeats if wanted else 0

    def _loaded(self, checkpoint: Path, quantization: Optional[Mapping[str, Any]] = None) -> LoadedModel:
        if self._reader is None:
            words = [*self.config.common, *self.subsets.words()]
            cfg = compose(self.config.config_name, self.config.config_dir, words)
            self._reader = Reader(cfg, self.subsets.score)
        return self._reader.load(checkpoint, quantization)

    def _logged(self, run: Run) -> Any:
        return isolated(run.folder / "train.log")

    @contextlib.contextmanager
    def _run(self, key: Sequence[str], name: Optional[str]) -> Iterator[Run]:
        digest = hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()[:16]
        run = Run(self.runs / (digest if name is None else name), digest)
        with locked(self.runs / f".{run.folder.name}.lock"):
            run.read()
            try:
                yield run
            except (FairseqError, Pruned):
                run.drop_weights()
                raise
            except OSError as error:
                raise DataError(f"{run.folder}: {reason(error)}") from None


def _transform(trained: Run, passes: Mapping[str, Any], run: Run) -> None:
    """The checkpoint of `run`: that of `trained` after the passes."""
    folder = run.folder / "transformed"
    transform({"model": str(trained.checkpoint), "passes": passes}, out=folder, overwrite=True)
    (folder / "checkpoint.pt").replace(run.checkpoint)
    shutil.rmtree(folder)


def _content(config: SearchConfig) -> str:
    """The configuration file's text: a changed file asks for other runs."""
    folder = Path(config.config_dir or ".")
    with contextlib.suppress(OSError):
        return hashlib.sha256((folder / f"{config.config_name}.yaml").read_bytes()).hexdigest()
    return config.config_name
