//! What both long-running binaries need: telemetry, admin endpoints, shutdown, lease.
