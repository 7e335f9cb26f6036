// Every CPU kernel, compiled once by each isa_<name>.cpp; after mixed_op what uses its parts.
#include "gaussian_kl.inl"
#include "gaussian_sample.inl"
#include "gaussian_sample_kl.inl"
#include "gumbel_softmax.inl"
#include "mixed_op.inl"
#include "mixed_sum.inl"
#include "relu_conv_norm.inl"
#include "sgd_step.inl"
