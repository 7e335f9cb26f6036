// What each way to take memory without clearing it gives: for the test that `poison` reaches all of them.
#pragma once

#include <string>

namespace base_fast {

// {"empty": true, ...}: whether every byte is poison.
std::string fresh_memory_json();

}  // namespace base_fast
