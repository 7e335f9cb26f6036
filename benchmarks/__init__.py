"""Every op against the best that plain PyTorch can do: `python -m benchmarks`, or one by one under pytest-benchmark.

<op>.py, bayesian_layers.py, *_step.py        the cases: one set-up each, ours, the opponents, floor and targets
targets, case, result, aims                   what a case sets out to reach, what it is, what it gave; several together
measure                                       values first; then speed and memory of those that agree
timing, agreement, memory, process_memory, arithmetic, allocator, machine, device, threads, compiled
plain_darts, smart_mixed_op                   the opponents of edges and supernets
table, plot, harness                          Markdown, a picture; the same cases under pytest-benchmark
gpu_static, gpu_*, occupancy                  what the GPU kernels' compiled code says, with or without a GPU
"""
