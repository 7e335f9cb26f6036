"""The Triton row: one module per op, each with functions of the op's dispatcher schemas for CUDA tensors."""
