// What a kernel sees of a tensor of any strides.
#pragma once

#include <cstdint>

namespace base_fast {

// rows × columns elements of a tensor: element (i, j) lies at data[i·row + j·column].
template <class T>
struct Block {
  T* data;
  int64_t row;
  int64_t column;
};

}  // namespace base_fast
