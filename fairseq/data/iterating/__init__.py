"""What `fairseq.data.iterators` is made of: counting, preloading, reading batches, and the order of an epoch."""
