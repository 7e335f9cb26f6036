// What differs between compilers and instruction sets.
//
// Headers of kernels define everything inside base_fast::BF_ISA. One that is compiled for a set of its own defines
// BF_ISA before it includes anything: avx512, avx2 or baseline for CPU kernels, cuda for the GPU's.
#pragma once

#ifndef BF_ISA
#define BF_ISA host
#endif

// Functions of one element. They are inlined without exception: the instruction set they are compiled for is the
// caller's, and a loop over them vectorizes.
#if defined(__CUDACC__)
#define BF_HD __host__ __device__ __forceinline__
#else
#define BF_HD inline __attribute__((always_inline))
#endif
#define BF_RESTRICT __restrict__

// Bytes of one vector of the set (on a GPU, a warp's). Not read off __AVX2__ and its like: GCC's C++ front end has read
// the whole file by the time it obeys a `#pragma GCC target`, so these never change.
#define BF_BYTES_cuda 128
#define BF_BYTES_avx512 64
#define BF_BYTES_avx2 32
#define BF_BYTES_baseline 16
#define BF_BYTES_host 16
#define BF_PASTE_(a, b) a##b
#define BF_PASTE(a, b) BF_PASTE_(a, b)
#define BF_VECTOR_BYTES BF_PASTE(BF_BYTES_, BF_ISA)

// a·b + c. AVX2, AVX-512, ARM and CUDA fuse it and so compute the same bits. Other processors round twice, and may
// differ in a float's last bits; unfused everywhere, noise would cost 40 % more.
#if BF_VECTOR_BYTES > 16 || defined(__FP_FAST_FMAF)
#define BF_FMA(a, b, c) fmaf(a, b, c)
#else
#define BF_FMA(a, b, c) ((a) * (b) + (c))
#endif
