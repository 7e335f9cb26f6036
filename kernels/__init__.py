"""The Triton row: one module per op, each with functions of the op's dispatcher schemas for CUDA tensors.

Imports among these files are relative: the folder is `kernels` to tools that look at the repository, and
`base_fast.kernels` where it is installed.
"""
