//! Who is asking, and for which purpose? People, tokens, roles, purposes, one-time codes.
//!
//! It knows nothing of HTTP, FHIR engines or storage: people are encoded here and kept elsewhere. The role's part of
//! every decision is [`decide`]; the patient's part, the grant, is decided where the ledger is known.

mod code;
mod decision;
mod person;
mod purpose;
mod token;

pub use code::{BadCode, Code};
pub use decision::{Action, Denied, decide};
pub use person::{BadPerson, Person, Role};
pub use purpose::{Purpose, UnknownPurpose};
pub use token::{BadToken, Token};
