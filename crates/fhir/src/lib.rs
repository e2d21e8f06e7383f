//! What does it mean clinically? The lossless JSON tree, the structure of FHIR R4, its search values, its references.
//!
//! Generic values and tables derived from the R4 definitions (HL7, CC0), no typed model: records are stored, sealed
//! and hashed as they were written. It knows nothing of the chain, storage or HTTP. Start at [`json`], then
//! [`validate`].

pub mod compartment;
mod date;
pub mod json;
pub mod outcome;
pub mod path;
pub mod reference;
pub mod schema;
pub mod search;
pub mod validate;

pub use compartment::patients;
pub use date::{instant, parse_date};
