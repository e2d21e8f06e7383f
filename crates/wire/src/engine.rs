//! The engine part of proofs.
