//! Bearer tokens: 256 random bits, of which only a hash is kept.

use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

const PREFIX: &str = "sut_";

/// A bearer token. Wiped when dropped, never shown by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token([u8; 32]);

/// Not a token of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is `sut_` and 43 characters of base64url")]
pub struct BadToken;

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// A fresh token.
    ///
    /// # Panics
    /// If the operating system gives no randomness.
    #[must_use]
    pub fn generate() -> Self {
        let mut octets = [0; 32];
        getrandom::fill(&mut octets).expect("the operating system gives randomness");
        Self(octets)
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.strip_prefix(PREFIX).ok_or(BadToken)?;
        let octets = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BadToken)?;
        Ok(Self(octets.try_into().map_err(|_| BadToken)?))
    }

    /// The token in text, to be handed to its person once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", data_encoding::BASE64URL_NOPAD.encode(&self.0))
    }

    /// What is kept. A plain hash is enough: 256 random bits cannot be guessed.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::new().chain_update(b"suture/1 token").chain_update(self.0).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_anything_else_refused() {
        let token = Token::generate();
        let text = token.reveal();
        assert_eq!(Token::parse(&text).unwrap().hash(), token.hash());
        assert_ne!(Token::generate().hash(), token.hash());
        assert!(!format!("{token:?}").contains(&text[4..]));
        for bad in ["", "sut_", &text[4..], &text[..text.len() - 1], &format!("{text}A"), "sut_*"] {
            assert!(Token::parse(bad).is_err());
        }
    }
}
