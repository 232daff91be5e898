"""fairseq-generate: translate a split of a data folder, and score the translations.

    fairseq-generate iwslt-bin --path checkpoints/checkpoint_best.pt --beam 5 --remove-bpe --scoring sacrebleu

Each sentence has lines S- (source), T- (reference), H- (hypothesis and its score in base 2), D- (the same in plain
text), P- (the score of each token), and with their flags A- (alignment) and I- (steps). The last line has the measure.
"""

import logging
import os
import sys
from typing import Any, TextIO

from fairseq_cli.entry import command
from fairseq_cli.generation import (
    Generation,
    check_settings,
    get_symbols_to_strip_from_output,
    hypothesis_lines,
    load,
    seed,
)

logger = logging.getLogger("fairseq_cli.generate")

__all__ = ["_main", "cli_main", "get_symbols_to_strip_from_output", "main"]


def main(cfg: Any) -> Any:
    """Generate as `cfg` (a root config or a namespace of flags) says; returns the scorer.

    Lines go to stdout, or to `generate-SUBSET.txt` in `common_eval.results_path`.
    """
    from fairseq.dataclass.utils import as_config

    cfg = as_config(cfg)
    check_settings(cfg)
    if cfg.common_eval.results_path is None:
        return _main(cfg, sys.stdout)
    os.makedirs(cfg.common_eval.results_path, exist_ok=True)
    path = os.path.join(cfg.common_eval.results_path, f"generate-{cfg.dataset.gen_subset}.txt")
    with open(path, "w", buffering=1, encoding="utf-8") as file:
        return _main(cfg, file)


def _main(cfg: Any, output_file: TextIO) -> Any:
    from fairseq import scoring, tasks
    from fairseq.allocator import keep_freed_memory
    from fairseq.data.part_of_dataset import load_subset
    from fairseq.dataclass.utils import as_config
    from fairseq.plugins import import_user_module

    _log_to(output_file)
    cfg = as_config(cfg)
    check_settings(cfg)
    keep_freed_memory()
    import_user_module(cfg.common)
    if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
        cfg.dataset.max_tokens = 12000
    logger.info(cfg)
    seed(cfg)
    task = tasks.setup_task(cfg.task)
    loaded = load(cfg, task, logger)
    load_subset(task, cfg.dataset.gen_subset)
    _check_raw(loaded)
    scorer = scoring.build_scorer(cfg.scoring, task.target_dictionary)
    found = _generate(loaded, scorer, output_file)

    logger.info("NOTE: hypothesis and token scores are output in base 2")
    seconds = found.seconds.sum
    logger.info(
        f"Translated {found.sentences:,} sentences ({found.tokens:,} tokens) in {seconds:.1f}s "
        f"({_per(found.sentences, seconds):.2f} sentences/s, {_per(found.tokens, seconds):.2f} tokens/s)"
    )
    if found.scored:
        if cfg.scoring._name == "bleu":
            _warn_of_bleu(cfg)
        print(
            f"Generate {cfg.dataset.gen_subset} with beam={cfg.generation.beam}: {scorer.result_string()}",
            file=output_file,
        )
    return scorer


def _log_to(output_file: TextIO) -> None:
    """Log lines go where the hypotheses go."""
    logging.basicConfig(
        format="%(asctime)s | %(levelname)s | %(name)s | %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        level=os.environ.get("LOGLEVEL", "INFO").upper(),
        stream=output_file,
    )


def _check_raw(loaded: Generation) -> None:
    from fairseq.errors import ConfigError

    dataset = loaded.task.dataset(loaded.cfg.dataset.gen_subset)
    if loaded.align_dict is not None and not hasattr(getattr(dataset, "src", None), "get_original_text"):
        raise ConfigError(
            "--replace-unk puts in words of the source, which binarised data has lost: use text, --dataset-impl raw"
        )


class _Totals:
    """What was generated."""

    def __init__(self) -> None:
        from fairseq.logging.meters import StopwatchMeter

        self.seconds = StopwatchMeter()
        self.sentences = self.tokens = self.scored = 0


def _generate(loaded: Generation, scorer: Any, output_file: TextIO) -> _Totals:
    """Print hypotheses for each sentence of the subset, and give the best ones to the scorer."""
    from fairseq import utils
    from fairseq.data.iterating.loading import deaths_of_workers
    from fairseq.logging import progress_bar
    from fairseq.logging.meters import TimeMeter
    from fairseq.training import console

    cfg, task, totals = loaded.cfg, loaded.task, _Totals()
    batches = task.get_batch_iterator(
        dataset=task.dataset(cfg.dataset.gen_subset),
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        max_positions=loaded.max_positions,
        ignore_invalid_inputs=cfg.dataset.skip_invalid_size_inputs_valid_test,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed,
        num_shards=cfg.dataset.num_shards,
        shard_id=cfg.dataset.shard_id,
        num_workers=cfg.dataset.num_workers,
        data_buffer_size=cfg.dataset.data_buffer_size,
    ).next_epoch_itr(shuffle=False)
    progress = progress_bar.progress_bar(
        batches, log_format=console.log_format(cfg), log_interval=cfg.common.log_interval
    )
    speed = TimeMeter()
    with deaths_of_workers():
        for sample in progress:
            if "net_input" not in sample:
                continue
            sample = utils.move_to_device(sample, loaded.precision.device)
            prefix = None
            if cfg.generation.prefix_size > 0 and sample["target"] is not None:
                prefix = sample["target"][:, : cfg.generation.prefix_size]
            totals.seconds.start()
            with loaded.precision.autocast():
                hypotheses = task.inference_step(
                    loaded.generator,
                    loaded.models,
                    sample,
                    prefix_tokens=prefix,
                    constraints=sample.get("constraints"),
                )
            num_tokens = sum(len(best[0]["tokens"]) for best in hypotheses if best)
            totals.seconds.stop(num_tokens)
            for row, number in enumerate(sample["id"].tolist()):
                totals.scored += _tell(loaded, sample, row, number, hypotheses[row], scorer, output_file)
            speed.update(num_tokens)
            progress.log({"wps": round(speed.avg)})
            totals.sentences += sample.get("nsentences", len(sample["id"]))
            totals.tokens += num_tokens
    return totals


def _tell(
    loaded: Generation, sample: Any, row: int, number: int, hypotheses: list, scorer: Any, output_file: TextIO
) -> int:
    """Print the lines of one sentence and score its best hypothesis; the number of sentences scored."""
    from fairseq import utils

    cfg, task = loaded.cfg, loaded.task
    post_process, target_dict = cfg.common_eval.post_process, task.target_dictionary
    ignored = get_symbols_to_strip_from_output(loaded.generator)
    source_text, target_tokens, target_text = "", None, ""
    if loaded.align_dict is not None:
        source_text = task.dataset(cfg.dataset.gen_subset).src.get_original_text(number)
    elif "src_tokens" in sample["net_input"] and task.source_dictionary is not None:
        tokens = utils.strip_pad(sample["net_input"]["src_tokens"][row], target_dict.pad())
        source_text = task.source_dictionary.string(tokens, post_process)
    if sample["target"] is not None:
        target_tokens = utils.strip_pad(sample["target"][row], target_dict.pad()).int().cpu()
        target_text = loaded.decode(
            target_dict.string(target_tokens, post_process, escape_unk=True, extra_symbols_to_ignore=ignored)
        )
    lines = []
    if task.source_dictionary is not None:
        lines.append(f"S-{number}\t{loaded.decode(source_text)}")
    if target_tokens is not None:
        lines.append(f"T-{number}\t{target_text}")
    scored = 0
    for rank, hypothesis in enumerate(hypotheses[: cfg.generation.nbest]):
        tokens, text, alignment = utils.post_process_prediction(
            hypo_tokens=hypothesis["tokens"].int().cpu(),
            src_str=source_text,
            alignment=hypothesis["alignment"],
            align_dict=loaded.align_dict,
            tgt_dict=target_dict,
            remove_bpe=post_process,
            extra_symbols_to_ignore=ignored,
        )
        lines += hypothesis_lines(loaded, number, hypothesis, text, alignment)
        if target_tokens is not None and rank == 0:
            scored = 1
            if hasattr(scorer, "add_string"):
                scorer.add_string(target_text, loaded.decode(text))
                continue
            if loaded.align_dict is not None or post_process is not None:
                # ids of the words that the text now has, new ones included
                target_tokens = target_dict.encode_line(target_text, add_if_not_exist=True)
                tokens = target_dict.encode_line(loaded.decode(text), add_if_not_exist=True)
            scorer.add(target_tokens, tokens)
    if not cfg.common_eval.quiet:
        print("\n".join(lines), file=output_file)
    return scored


def _warn_of_bleu(cfg: Any) -> None:
    if cfg.bpe is not None and not cfg.generation.sacrebleu:
        words = "detokenised text, split at spaces" if cfg.common_eval.post_process else "subwords, not of words"
        logger.warning(f"this BLEU is that of {words}; --scoring sacrebleu compares with published figures")


def _per(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


@command
def cli_main() -> None:
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    args = options.parse_args_and_arch(options.get_generation_parser())
    main(convert_namespace_to_omegaconf(args))


if __name__ == "__main__":
    cli_main()
