"""Every op against the best that plain PyTorch can do: `python -m benchmarks`, or one by one under pytest-benchmark.

<op>.py, bayesian_layers.py, inner_step.py    the cases: one set-up each, ours, the opponents, floor and targets
case, targets, result                         what a case is, what it sets out to reach, what it gave
measure                                       values first; then speed and memory of those that agree
timing, agreement, memory, allocator, machine, device, compiled
table, plot, harness                          Markdown, a picture; the same cases under pytest-benchmark
gpu_static, gpu_*, occupancy                  what the GPU kernels' compiled code says, with or without a GPU
"""
