//! The pod's side of its interfaces, made within its network namespace.
