"""A short quantized run, and the bits that its updates have and should have."""

from fairseq.logging.history import read_history
from fairseq.quantization.schedules import build_schedule

CPT = ("--quantization", "cpt_4_8", "--precision-cycles", "3", "--no-progress-bar")
UPDATES = 14  # 26 examples in batches of 4, twice


def expected_bits(total: int = UPDATES, low: int = 4, high: int = 8, cycles: int = 3) -> list[int]:
    schedule = build_schedule("CR", low=low, high=high, num_cycles=cycles)
    return [schedule.bits(update, total) for update in range(total)]


def bits_of(runs, name: str) -> list[int]:
    inner = [record for record in read_history(runs.folder / name) if record["tag"] == "train_inner"]
    return [record["num_bits"] for record in inner]
