//! One encoding per value: the presentation language of TLS (RFC 8446 §3) with the variable-size vectors of MLS
//! (RFC 9420 §2.1.2).
//!
//! Integers are big-endian and of fixed size; an option is one octet 0 or 1 and, after 1, the value; a vector is its
//! length in octets and its items; a variant is one octet and its fields. Decoding is strict: what does not encode
//! again to the same octets is refused, so a value has exactly one form.

use tls_codec::{Deserialize, Serialize, Size};
pub use tls_codec::{TlsDeserialize, TlsSerialize, TlsSize};

/// Why octets are not a value of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More octets than the type may have.
    #[error("{what} is {size} octets long, at most {max} are allowed")]
    TooLong {
        /// The type that was expected.
        what: &'static str,
        /// Octets given.
        size: usize,
        /// Octets allowed.
        max: usize,
    },
    /// The octets do not follow the type's format.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl DecodeError {
    /// A value that follows the syntax but breaks a rule of its type.
    pub fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }
}

/// A type with one bounded encoding.
///
/// Implemented by [`format!`](crate::format); `check` holds what the syntax alone does not say.
pub trait Format: Serialize + Deserialize + Size + Sized {
    /// The type's name in error messages.
    const NAME: &'static str;
    /// The longest encoding that is accepted, in octets.
    const OCTETS_MAX: usize;

    /// Rules beyond the syntax.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] with the rule that is broken.
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }

    /// The value in octets.
    fn to_octets(&self) -> Vec<u8> {
        self.tls_serialize_detached().expect("writing to memory cannot fail and every length fits its field")
    }

    /// Reads a value; the octets must be exactly one value's encoding.
    ///
    /// # Errors
    /// [`DecodeError`] when they are too many, do not follow the format, break a rule, or are not the one form.
    fn from_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        if octets.len() > Self::OCTETS_MAX {
            return Err(DecodeError::TooLong { what: Self::NAME, size: octets.len(), max: Self::OCTETS_MAX });
        }
        let value = Self::tls_deserialize_exact(octets)
            .map_err(|e| DecodeError::Malformed { what: Self::NAME, reason: e.to_string() })?;
        value.check()?;
        if value.to_octets() != octets {
            return Err(DecodeError::malformed(Self::NAME, "not the canonical form of its value"));
        }
        Ok(value)
    }
}

/// Gives a type its name and bound: `format!(Grant, 65_536)`, or with rules `format!(Grant, 65_536, check_grant)`.
#[macro_export]
macro_rules! format {
    ($type:ty, $max:expr) => {
        impl $crate::codec::Format for $type {
            const NAME: &'static str = stringify!($type);
            const OCTETS_MAX: usize = $max;
        }
    };
    ($type:ty, $max:expr, $check:path) => {
        impl $crate::codec::Format for $type {
            const NAME: &'static str = stringify!($type);
            const OCTETS_MAX: usize = $max;
            fn check(&self) -> Result<(), $crate::codec::DecodeError> {
                $check(self)
            }
        }
    };
}

/// Octets after their number in four octets: for `#[tls_codec(with = "wire::codec::octets")]` on a `Vec<u8>`.
pub mod octets {
    use std::io::{Read, Write};
    use tls_codec::{Deserialize as _, Error, Serialize as _, Size as _, TlsByteSliceU32, TlsByteVecU32};

    /// Length in octets of the encoding.
    #[must_use]
    pub fn tls_serialized_len(octets: &[u8]) -> usize {
        TlsByteSliceU32(octets).tls_serialized_len()
    }

    /// Writes the octets.
    ///
    /// # Errors
    /// When the writer fails or the length does not fit four octets.
    pub fn tls_serialize<W: Write>(octets: &[u8], writer: &mut W) -> Result<usize, Error> {
        TlsByteSliceU32(octets).tls_serialize(writer)
    }

    /// Reads octets. Nothing is reserved beyond what is really there.
    ///
    /// # Errors
    /// When fewer octets follow than announced.
    pub fn tls_deserialize<R: Read>(reader: &mut R) -> Result<Vec<u8>, Error> {
        TlsByteVecU32::tls_deserialize(reader).map(Into::into)
    }
}

/// UTF-8 text after its number of octets in two octets: for `#[tls_codec(with = "wire::codec::text")]`.
pub mod text {
    use std::io::{Read, Write};
    use tls_codec::{Deserialize as _, Error, Serialize as _, Size as _, TlsByteSliceU16, TlsByteVecU16};

    /// Length in octets of the encoding.
    #[must_use]
    pub fn tls_serialized_len(text: &str) -> usize {
        TlsByteSliceU16(text.as_bytes()).tls_serialized_len()
    }

    /// Writes the text.
    ///
    /// # Errors
    /// When the writer fails or the text is longer than 65,535 octets.
    pub fn tls_serialize<W: Write>(text: &str, writer: &mut W) -> Result<usize, Error> {
        TlsByteSliceU16(text.as_bytes()).tls_serialize(writer)
    }

    /// Reads text.
    ///
    /// # Errors
    /// When fewer octets follow than announced, or they are not UTF-8.
    pub fn tls_deserialize<R: Read>(reader: &mut R) -> Result<String, Error> {
        let octets: Vec<u8> = TlsByteVecU16::tls_deserialize(reader)?.into();
        String::from_utf8(octets).map_err(|_| Error::DecodingError("text is not UTF-8".into()))
    }
}

/// Yes or no in one octet, 1 or 0: for `#[tls_codec(with = "wire::codec::flag")]` on a `bool`.
pub mod flag {
    use std::io::{Read, Write};
    use tls_codec::{Deserialize as _, Error, Serialize as _};

    /// One octet.
    #[must_use]
    pub fn tls_serialized_len(_: &bool) -> usize {
        1
    }

    /// Writes the octet.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn tls_serialize<W: Write>(flag: &bool, writer: &mut W) -> Result<usize, Error> {
        u8::from(*flag).tls_serialize(writer)
    }

    /// Reads the octet.
    ///
    /// # Errors
    /// When it is neither 0 nor 1.
    pub fn tls_deserialize<R: Read>(reader: &mut R) -> Result<bool, Error> {
        match u8::tls_deserialize(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::InvalidInput),
        }
    }
}
