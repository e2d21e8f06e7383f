//! How is it written in octets, hashed, signed, sealed?
//!
//! The ground floor: codecs with bounds, hashes, strands and their pages, signatures, sealing, the messages that
//! members send one another, and proof documents. It knows nothing of I/O, async, an ambient clock; randomness is
//! drawn only where a fresh key, salt or encapsulation is made ([`random`]).
//!
//! Everything that a proof shows is SHA-256, HMAC-SHA-256 and Ed25519, so that a browser or any language's standard
//! library can check it. Formats, octet by octet: `docs/formats.md`. Start reading at [`strand`], then [`proof`].
//!
//! ```
//! use wire::strand::StrandKey;
//! let key = StrandKey::generate();
//! let first = wire::strand::entry_key(7, &key.tag(0));
//! assert_ne!(first, wire::strand::entry_key(8, &key.tag(0)), "the signer is part of the place");
//! ```

pub mod codec;
pub mod engine;
pub mod genesis;
pub mod hash;
pub mod keys;
pub mod message;
pub mod proof;
pub mod seal;
pub mod sign;
pub mod state;
pub mod strand;

pub use codec::Format;
pub use hash::Hash;

/// Fills an array with random octets from the operating system.
///
/// # Panics
/// If the operating system has no randomness to give: nothing that needs a key can go on then.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0u8; N];
    getrandom::fill(&mut octets).expect("the operating system gives randomness");
    octets
}
