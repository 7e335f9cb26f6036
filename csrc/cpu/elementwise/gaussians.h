// The Gaussians that KL kernels read, and where their gradients go.
#pragma once

namespace base_fast {

// (P,) each; a shared prior is one element, that of all P weights.
template <class T>
struct Gaussians {
  const T* mu;
  const T* rho;
  const T* prior_mu;
  const T* prior_rho;
  bool shared_prior;
};

// (P,) each; those for the prior are both null where they are not wanted.
template <class T>
struct GaussianGradients {
  T* mu;
  T* rho;
  T* prior_mu;
  T* prior_rho;
};

}  // namespace base_fast
