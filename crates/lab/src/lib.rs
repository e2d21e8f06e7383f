//! The `lab` room.
