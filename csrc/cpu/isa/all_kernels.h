// Every CPU kernel, compiled once by each isa/<set>.cpp.
#pragma once

#include "../blocked/relu_conv_norm_kernel.h"
#include "../edge/mixed_op_kernel.h"
#include "../elementwise/channels_kernel.h"
#include "../elementwise/gaussian_kl_kernel.h"
#include "../elementwise/gaussian_sample_kernel.h"
#include "../elementwise/gaussian_sample_kl_kernel.h"
#include "../elementwise/gumbel_softmax_kernel.h"
#include "../elementwise/mixed_sum_kernel.h"
#include "../elementwise/sgd_step_kernel.h"
