"""One's own tables of text, from a file to a data folder for `sentence_prediction`."""
