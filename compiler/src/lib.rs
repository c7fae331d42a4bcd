//! Pure compiler: Kubernetes objects to per-node configuration and shared slices.
