"""GLUE: what its tasks' files look like, where they are published, how they become `sentence_prediction` folders.

`tasks` reads the original TSV files, `download` fetches them, `prepare` encodes and writes. The command is
`fairseq-prepare-glue`.
"""
