"""fairseq-interactive: translate lines as they are typed or piped.

    cat test.de | fairseq-interactive iwslt-bin --path checkpoints/checkpoint_best.pt --buffer-size 64 --batch-size 32

With --constraints, each line may have phrases behind tabs, which its translation has to contain. Lines S-, H-, D-, P-
and A- are those of fairseq-generate; W- has the seconds that a sentence took, C- a constraint. Without a data folder
the dictionaries are those in the checkpoint.
"""

import fileinput
import logging
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any, Optional

from fairseq_cli.entry import command
from fairseq_cli.generation import (
    Generation,
    check_settings,
    get_symbols_to_strip_from_output,
    hypothesis_lines,
    load,
    seed,
)
from fairseq_cli.train import setup_logging

logger = logging.getLogger("fairseq_cli.interactive")

Batch = namedtuple("Batch", "ids src_tokens src_lengths constraints")
Translation = namedtuple("Translation", "src_str hypos pos_scores alignments")


def buffered_read(input: str, buffer_size: int) -> Iterator[list[str]]:
    """Lists of `buffer_size` lines of a file, or of standard input where its name is `-`; the last may be shorter."""
    buffer = []
    with fileinput.input(files=[input], openhook=fileinput.hook_encoded("utf-8")) as lines:
        for line in lines:
            buffer.append(line.strip())
            if len(buffer) >= buffer_size:
                yield buffer
                buffer = []
    if buffer:
        yield buffer


def make_batches(
    lines: list[str], cfg: Any, task: Any, max_positions: Any, encode_fn: Callable[[str], str]
) -> Iterator[Batch]:
    """Batches of `lines`; with `generation.constraints` the phrases behind tabs are cut off, in place."""
    constraints = _cut_constraints(lines, task, encode_fn) if cfg.generation.constraints else None
    tokens, lengths = task.get_interactive_tokens_and_lengths(lines, encode_fn)
    itr = task.get_batch_iterator(
        dataset=task.build_dataset_for_inference(tokens, lengths, constraints=constraints),
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        max_positions=max_positions,
        ignore_invalid_inputs=cfg.dataset.skip_invalid_size_inputs_valid_test,
    ).next_epoch_itr(shuffle=False)
    for batch in itr:
        inputs = batch["net_input"]
        yield Batch(batch["id"], inputs["src_tokens"], inputs["src_lengths"], batch.get("constraints"))


def _cut_constraints(lines: list[str], task: Any, encode_fn: Callable[[str], str]) -> Any:
    from fairseq.token_generation_constraints import pack_constraints

    found = []
    for i, line in enumerate(lines):
        lines[i], *phrases = line.split("\t")
        found.append(
            [
                task.target_dictionary.encode_line(encode_fn(phrase), append_eos=False, add_if_not_exist=False)
                for phrase in phrases
                if phrase.strip()
            ]
        )
    return pack_constraints(found)


def main(cfg: Any) -> None:
    """Translate the lines of `interactive.input` as `cfg` (a root config or a namespace of flags) says."""
    from fairseq import tasks
    from fairseq.allocator import keep_freed_memory
    from fairseq.dataclass.utils import as_config
    from fairseq.errors import ConfigError
    from fairseq.plugins import import_user_module

    start = time.perf_counter()
    cfg = as_config(cfg)
    check_settings(cfg)
    keep_freed_memory()
    import_user_module(cfg.common)
    buffer_size = max(cfg.interactive.buffer_size, 1)
    if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
        cfg.dataset.batch_size = 1
    if cfg.dataset.batch_size is not None and cfg.dataset.batch_size > buffer_size:
        raise ConfigError(
            f"--batch-size {cfg.dataset.batch_size} is more than the {buffer_size} lines that are read at once; "
            "give as large a --buffer-size"
        )
    logger.info(cfg)
    seed(cfg)
    loaded = load(cfg, tasks.setup_task(cfg.task) if cfg.task.data else None, logger)
    if buffer_size > 1:
        logger.info(f"Sentence buffer size: {buffer_size}")
    logger.info("NOTE: hypothesis and token scores are output in base 2")
    logger.info("Type the input sentence and press return:")
    first, seconds = 0, 0.0
    for lines in buffered_read(cfg.interactive.input, buffer_size):
        seconds += _translate(loaded, lines, first)
        first += len(lines)
    logger.info(f"Total time: {time.perf_counter() - start:.3f} seconds; translation time: {seconds:.3f}")


def _translate(loaded: Generation, lines: list[str], first: int) -> float:
    """Print the translations of `lines`, which are numbered from `first` on; the seconds they took."""
    from fairseq import utils

    cfg, total, results = loaded.cfg, 0.0, []
    for batch in make_batches(lines, cfg, loaded.task, loaded.max_positions, loaded.encode):
        net_input = {"src_tokens": batch.src_tokens, "src_lengths": batch.src_lengths}
        sample, constraints = utils.move_to_device(
            ({"net_input": net_input}, batch.constraints), loaded.precision.device
        )
        begin = time.perf_counter()
        with loaded.precision.autocast():
            hypotheses = loaded.task.inference_step(loaded.generator, loaded.models, sample, constraints=constraints)
        seconds = time.perf_counter() - begin
        total += seconds
        for row, number in enumerate(batch.ids.tolist()):
            source = utils.strip_pad(batch.src_tokens[row], loaded.task.target_dictionary.pad())
            wanted = batch.constraints[row] if batch.constraints is not None else None
            results.append((number, source, hypotheses[row], wanted, seconds / len(batch.ids)))
    for number, *result in sorted(results, key=lambda result: result[0]):
        print("\n".join(_lines(loaded, first + number, *result)))
    sys.stdout.flush()
    return total


def _lines(
    loaded: Generation, number: int, source: Any, hypotheses: list, constraints: Optional[Any], seconds: float
) -> Iterator[str]:
    from fairseq import utils
    from fairseq.token_generation_constraints import unpack_constraints

    task, post_process = loaded.task, loaded.cfg.common_eval.post_process
    source_text = ""
    if task.source_dictionary is not None:
        source_text = task.source_dictionary.string(source, post_process)
        yield f"S-{number}\t{source_text}"
        yield f"W-{number}\t{seconds:.3f}\tseconds"
        for phrase in unpack_constraints(constraints) if constraints is not None else ():
            yield f"C-{number}\t{task.target_dictionary.string(phrase, post_process)}"
    for hypothesis in hypotheses[: loaded.cfg.generation.nbest]:
        _, text, alignment = utils.post_process_prediction(
            hypo_tokens=hypothesis["tokens"].int().cpu(),
            src_str=source_text,
            alignment=hypothesis["alignment"],
            align_dict=loaded.align_dict,
            tgt_dict=task.target_dictionary,
            remove_bpe=post_process,
            extra_symbols_to_ignore=get_symbols_to_strip_from_output(loaded.generator),
        )
        yield from hypothesis_lines(loaded, number, hypothesis, text, alignment)


@command
def cli_main() -> None:
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.distributed.utils import call_main

    args = options.parse_args_and_arch(options.get_interactive_generation_parser())
    setup_logging()
    call_main(convert_namespace_to_omegaconf(args), main)


if __name__ == "__main__":
    cli_main()
