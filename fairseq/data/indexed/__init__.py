"""The on-disk formats behind `fairseq.data.indexed_dataset`: names, memory-mapped, legacy and raw text."""
