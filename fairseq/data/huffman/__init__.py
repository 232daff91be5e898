"""Texts whose words are stored in codes of varying length: the more frequent, the shorter (Huffman 1952).

builder = HuffmanCodeBuilder()
builder.add_symbols(*words)
with HuffmanMMapIndexedDatasetBuilder("train", builder.build_code()) as file:
    file.add_item(["the", "cat"])
HuffmanMMapIndexedDataset("train")[0]               # ids of the code
"""

from fairseq.data.huffman.huffman_coder import HuffmanCodeBuilder, HuffmanCoder
from fairseq.data.huffman.huffman_mmap_indexed_dataset import (
    HuffmanMMapIndex,
    HuffmanMMapIndexedDataset,
    HuffmanMMapIndexedDatasetBuilder,
    vocab_file_path,
)

__all__ = [
    "HuffmanCodeBuilder",
    "HuffmanCoder",
    "HuffmanMMapIndex",
    "HuffmanMMapIndexedDataset",
    "HuffmanMMapIndexedDatasetBuilder",
    "vocab_file_path",
]
