"""Downloads of GLUE's tasks as they are published.

    folder = fetch_task("RTE")        # train.tsv, dev.tsv, test.tsv

No sha256 of the archives is published. Size and sha256 of the first download are recorded in `manifest.json` next to
them, and a later download that differs is reported. The TSV files inside are compared with known ones. A damaged file
is removed and downloaded again.
"""

import logging
from pathlib import Path
from typing import Optional

from fairseq.data.download import BASE_URL, cache_dir, fetch_recorded, warn_of_other_files
from fairseq.data.glue.archive import DamagedArchive, extract
from fairseq.data.glue.mrpc import DEV_IDS, PUBLISHED
from fairseq.errors import ConfigError

logger = logging.getLogger(__name__)

ARCHIVES = {
    "CoLA": "CoLA.zip",
    "MNLI": "MNLI.zip",
    "QNLI": "QNLIv2.zip",
    "QQP": "QQP-clean.zip",
    "RTE": "RTE.zip",
    "SST-2": "SST-2.zip",
    "STS-B": "STS-B.zip",
    "WNLI": "WNLI.zip",
}
# MRPC's licence does not allow an archive; GLUE points at these files.
MRPC_FILES = {
    PUBLISHED["train"]: "senteval/senteval_data/msr_paraphrase_train.txt",
    PUBLISHED["test"]: "senteval/senteval_data/msr_paraphrase_test.txt",
    DEV_IDS: "glue/data/mrpc_dev_ids.tsv",
}
# sha256 of the files that this version was tested with; others work, with a warning
KNOWN = {
    "CoLA/train.tsv": "cb368ebeb9f27d7ad03720d27ddc95687a311bdb100781a2fe59a5f5b1bc0624",
    "CoLA/dev.tsv": "8c013e21dc39957cac37378d87bebe225b694a0d5fe13eded66c2856628833fd",
    "QNLI/dev.tsv": "ac19409dcb04631eaaa094bdebdcf621086bc352503dfb6a1a648b614986f4fd",
    "RTE/train.tsv": "41e3a9b063433392343fad9e962cf2f58b681c78d8f71592f4186f0837246c5c",
    "RTE/dev.tsv": "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb",
    "SST-2/train.tsv": "48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1",
    "SST-2/dev.tsv": "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0",
    "STS-B/train.tsv": "41c4d978b6162abdcada7e49a982211954cca5459c228db478af333124b257a2",
    "STS-B/dev.tsv": "fe7dc0632a5033562f3cadff991f6e8d9b9b6311861660e78c3c82eb7db67f59",
    "WNLI/train.tsv": "9a88e9d54b6861cc796a088e9acf4f5f65064a9ef65ae6fa7a688b28391e5c9a",
    "WNLI/dev.tsv": "cba00490596dd14be8cf53b4f53bb744abe3a7b89f81ab210528d80225338ed5",
}


def fetch_task(name: str, cache: Optional[Path] = None, base_url: str = BASE_URL) -> Path:
    """The folder with one GLUE task's files, downloaded if it is not in the cache.

    Raises:
        DataError: the network, the server or the archive failed; the message names it and says what to do.
    """
    cache = cache or cache_dir()
    folder = cache / "glue" / name
    if name == "MRPC":
        for file, path in MRPC_FILES.items():
            fetch_recorded(base_url + path, folder / file)
        return folder
    if name not in ARCHIVES:
        raise ConfigError(f"GLUE task {name} is not published as an archive; give its folder by --glue-dir")
    if not folder.is_dir():
        archive = cache / "glue" / ARCHIVES[name]
        url, was_there = f"{base_url}glue/data/{ARCHIVES[name]}", archive.is_file()
        fetch_recorded(url, archive)
        try:
            extract(archive, folder, name)
        except DamagedArchive as error:
            if not was_there:  # just downloaded: another download would give the same file
                raise
            logger.warning("%s; fetching it again", error)
            fetch_recorded(url, archive)
            extract(archive, folder, name)
        archive.unlink()
    warn_of_other_files(folder, _known_files(name))
    return folder


def _known_files(task: str) -> dict[str, str]:
    """File name -> sha256 of the files of `task` in KNOWN."""
    return {path.partition("/")[2]: checksum for path, checksum in KNOWN.items() if path.startswith(f"{task}/")}
