//! contiv-operator: watches Kubernetes, compiles, writes VppConfig and slices, aggregates status.
