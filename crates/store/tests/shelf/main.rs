//! The store as those above it see it: what is found, what is kept, and what a crash leaves.

mod crash;
mod keeping;
mod make;
mod search;
