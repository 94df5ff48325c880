"""The networks: tensors in, tensors out, one file a paper."""
