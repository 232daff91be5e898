"""GPT-2's BPE files and RoBERTa's dictionary as fairseq publishes them: their sha256, and their download.

folder = fetch_bpe()          # encoder.json, vocab.bpe, dict.txt
"""

from pathlib import Path
from typing import Optional

from fairseq.data.download import BASE_URL, cache_dir, fetch, fetch_recorded, warn_of_other_files

# file name -> sha256 that it must have
FILES = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "dict.txt": None,  # copies with more unused symbols at the end exist; compared with KNOWN instead
}
# sha256 of the file that this version was tested with
KNOWN = {"dict.txt": "2c31c5b236661067fe8626775eb995ef5fe808ac87d2ad4a6ddbef68550f5cc6"}


def fetch_bpe(cache: Optional[Path] = None, base_url: str = BASE_URL) -> Path:
    """The folder with `encoder.json`, `vocab.bpe` and `dict.txt`, downloaded if they are not in the cache."""
    folder = (cache or cache_dir()) / "gpt2_bpe"
    for name, checksum in FILES.items():
        url = f"{base_url}fairseq/gpt2_bpe/{name}"
        if checksum is None:
            fetch_recorded(url, folder / name)
        else:
            fetch(url, folder / name, checksum)
    warn_of_other_files(folder, KNOWN)
    return folder
