//! What if the world misbehaves? Members as processes, clients from outside, synthetic patients.
//!
//! It does not know the program that it starts: it is handed the executable's path.

pub mod client;
pub mod data;
pub mod network;
pub mod process;
pub mod stories;
