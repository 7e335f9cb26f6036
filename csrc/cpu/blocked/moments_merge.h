// The moments of two sets of values become those of both (Chan et al. 1979).
#pragma once

namespace base_fast {

struct MomentsMerge {
  // Of so many values, in any unit.
  MomentsMerge(double before, double count) : before_(before), part_(count / (before + count)) {}

  double mean(double mean, double more) const { return mean + (more - mean) * part_; }
  // What Σ(x − mean)² of both has beyond the sum of theirs.
  double between(double mean, double more) const { return (more - mean) * (more - mean) * before_ * part_; }

 private:
  double before_, part_;
};

}  // namespace base_fast
