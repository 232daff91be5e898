"""The fixed groups of the root config, one small file each; `fairseq.dataclass.configs` puts them together."""
