//! The `fhir` room.
