//! Cases only: see `main.rs`.
