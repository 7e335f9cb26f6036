// From primitives to stages. Included by edge_group.h.
#pragma once

#include "edge_group.h"

namespace base_fast {

template <class T>
void EdgeGroup<T>::resolve(const std::vector<Edge<T>>& edges, bool recompute) {
  struct Late {
    Stage<T> stage;
    Source source;
    double weight;
    size_t primitive;
  };
  std::vector<Late> second;
  second.reserve(edges.size() * 2), stages_.reserve(edges.size() * 6), sources_.reserve(edges.size() * 6);
  norm_of_.reserve(edges.size()), weights_.reserve(edges.size() * 14);
  for (size_t e = 0; e < edges.size(); ++e) {
    const Edge<T>& edge = edges[e];
    EdgeOutput<T>& output = outputs_[e];
    int next = int(weights_.size());
    weights_.insert(weights_.end(), edge.weights.begin(), edge.weights.end());
    norm_of_.emplace_back(edge.primitives.size(), kNothing);
    for (size_t l = 0; l < edge.primitives.size(); ++l) {
      const PrimitiveFacts& facts = primitive_facts(edge.primitives[l]);
      const double weight = double(edge.z[l]);
      const auto stage = [&](StageKind kind, int stride, int input, bool last) {
        Stage<T> s{};
        s.kind = kind, s.kernel = facts.kernel, s.dilation = facts.dilation, s.stride = stride;
        s.input = input, s.output = int(e), s.last = last;
        s.kept = !recompute && is_kept(edge.primitives, edge.primitives[l]);
        return s;
      };
      const auto first = [&](StageKind kind, bool last) {
        stages_.push_back(stage(kind, plan.stride, -1, last));
        sources_.push_back({next, next + 1});
        weight_.push_back(last ? weight : 1.0);
        norm_of_[e][l] = int(stages_.size()) - 1;
        next += 2;
      };
      if (facts.convolutions > 0) first(StageKind::convolution, facts.convolutions == 1);
      if (facts.convolutions == 2) {
        second.push_back(
            {stage(StageKind::convolution, 1, int(stages_.size()) - 1, true), {next, next + 1}, weight, l});
        next += 2;
      }
      output.max_pool |= facts.number == Primitive::max_pool;
      output.avg_pool |= facts.number == Primitive::avg_pool;
      if (facts.number != Primitive::skip) continue;
      if (plan.stride == 2) {
        first(StageKind::factorized_reduction, true);
      } else {
        output.has_identity = true, output.identity += edge.z[l], norm_of_[e][l] = kIdentity;
      }
    }
    plan.max_pool |= output.max_pool, plan.avg_pool |= output.avg_pool, plan.has_identity |= output.has_identity;
  }
  plan.first = int(stages_.size()), plan.second = int(second.size());
  for (const Late& late : second) {
    norm_of_[size_t(late.stage.output)][late.primitive] = int(stages_.size());
    stages_.push_back(late.stage);
    sources_.push_back(late.source);
    weight_.push_back(late.weight);
  }
  weight_.resize(size_t(plan.norms()), 0.0);
  last_stages_.resize(edges.size());
  for (size_t s = 0; s < stages_.size(); ++s)
    if (stages_[s].last) last_stages_[size_t(stages_[s].output)].push_back(int(s));
  for (size_t e = 0; e < edges.size(); ++e) {
    outputs_[e].stages = last_stages_[e].data(), outputs_[e].count = int(last_stages_[e].size());
    for (size_t l = 0; l < edges[e].primitives.size(); ++l) {
      const Primitive primitive = Primitive(edges[e].primitives[l]);
      if (primitive != Primitive::max_pool && primitive != Primitive::avg_pool) continue;
      norm_of_[e][l] = int(e) + (primitive == Primitive::max_pool ? plan.max_row() : plan.avg_row());
      weight_[size_t(norm_of_[e][l])] += double(edges[e].z[l]);
    }
  }
}

}  // namespace base_fast
