//! The `records` room.
