#include "filters.h"

#include <stdexcept>
#include <string>

namespace base_fast {

void unknown_filter(int kernel, int stride, int dilation) {
  throw std::invalid_argument("no filter of kernel " + std::to_string(kernel) + ", stride " + std::to_string(stride) +
                              " and dilation " + std::to_string(dilation));
}

}  // namespace base_fast
