"""The values that a choice field accepts, one enum each, under the names that fairseq users import.

>>> LOG_FORMAT_CHOICES("json") == "json", [str(choice) for choice in DATASET_IMPL_CHOICES]
(True, ['raw', 'lazy', 'cached', 'mmap', 'fasta', 'huffman'])
"""

from fairseq.dataclass.base import ChoiceEnum, StrEnum

__all__ = [
    "ACTIVATION_FN_CHOICES",
    "DATASET_IMPL_CHOICES",
    "DDP_BACKEND_CHOICES",
    "DDP_COMM_HOOK_CHOICES",
    "GENERATION_CONSTRAINTS_CHOICES",
    "GENERATION_DECODING_FORMAT_CHOICES",
    "LOG_FORMAT_CHOICES",
    "MASK_LENGTH_CHOICES",
    "PIPELINE_CHECKPOINT_CHOICES",
    "PRINT_ALIGNMENT_CHOICES",
    "SAMPLE_BREAK_MODE_CHOICES",
    "SHORTEN_METHOD_CHOICES",
    "ZERO_SHARDING_CHOICES",
    "ChoiceEnum",
    "StrEnum",
]


class LOG_FORMAT_CHOICES(StrEnum):
    json = "json"
    none = "none"
    simple = "simple"
    tqdm = "tqdm"


class DDP_BACKEND_CHOICES(StrEnum):
    c10d = "c10d"  # an older name of pytorch_ddp
    fully_sharded = "fully_sharded"
    legacy_ddp = "legacy_ddp"
    no_c10d = "no_c10d"  # an older name of legacy_ddp
    pytorch_ddp = "pytorch_ddp"
    slowmo = "slowmo"


class DDP_COMM_HOOK_CHOICES(StrEnum):
    none = "none"
    fp16 = "fp16"
    bf16 = "bf16"
    int8_ef = "int8_ef"
    topk_ef = "topk_ef"
    lowrank = "lowrank"


class PIPELINE_CHECKPOINT_CHOICES(StrEnum):
    always = "always"
    never = "never"
    except_last = "except_last"


class ZERO_SHARDING_CHOICES(StrEnum):
    none = "none"
    os = "os"


class DATASET_IMPL_CHOICES(StrEnum):
    raw = "raw"
    lazy = "lazy"
    cached = "cached"
    mmap = "mmap"
    fasta = "fasta"
    huffman = "huffman"


class GENERATION_CONSTRAINTS_CHOICES(StrEnum):
    ordered = "ordered"
    unordered = "unordered"


class GENERATION_DECODING_FORMAT_CHOICES(StrEnum):
    unigram = "unigram"
    ensemble = "ensemble"
    vote = "vote"
    dp = "dp"
    bs = "bs"


class PRINT_ALIGNMENT_CHOICES(StrEnum):
    hard = "hard"
    soft = "soft"


class SHORTEN_METHOD_CHOICES(StrEnum):
    none = "none"
    truncate = "truncate"
    random_crop = "random_crop"


class SAMPLE_BREAK_MODE_CHOICES(StrEnum):
    none = "none"
    complete = "complete"
    complete_doc = "complete_doc"
    eos = "eos"


class ACTIVATION_FN_CHOICES(StrEnum):
    relu = "relu"
    relu_squared = "relu_squared"
    gelu = "gelu"
    gelu_fast = "gelu_fast"
    gelu_accurate = "gelu_accurate"
    tanh = "tanh"
    linear = "linear"
    swish = "swish"


class EncoderLangtok(StrEnum):
    """Whose token ends a source: that of the source's language or the target's."""

    src = "src"
    tgt = "tgt"


class LangTokStyle(StrEnum):
    """How language tokens are written: `__de__` or `[de_DE]`."""

    multilingual = "multilingual"
    mbart = "mbart"


class SAMPLING_METHOD_CHOICES(StrEnum):
    """How often each of several data sets is seen."""

    uniform = "uniform"
    temperature = "temperature"
    concat = "concat"
    RoundRobin = "RoundRobin"


MASK_LENGTH_CHOICES = ChoiceEnum(["subword", "word", "span-poisson"])  # read by name, which has a hyphen


class NOISE_CHOICES(StrEnum):
    """What is done to the targets that a refining model's decoder sees."""

    random_delete = "random_delete"
    random_mask = "random_mask"
    no_noise = "no_noise"
    full_mask = "full_mask"
