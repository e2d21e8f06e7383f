//! One-time codes that a desk hands to a patient: 100 random bits in Crockford's base32, in groups of five.

use sha2::{Digest as _, Sha256};

const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 20;

/// A one-time code. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

/// Not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code is four groups of five letters and digits, such as 7K2PX-00000-00000-00000")]
pub struct BadCode;

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(..)")
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let groups: Vec<&str> = (0..LENGTH).step_by(5).map(|at| &self.0[at..at + 5]).collect();
        f.write_str(&groups.join("-"))
    }
}

impl Code {
    /// A fresh code.
    ///
    /// # Panics
    /// If the operating system gives no randomness.
    #[must_use]
    pub fn generate() -> Self {
        let mut octets = [0; LENGTH];
        getrandom::fill(&mut octets).expect("the operating system gives randomness");
        Self(octets.iter().map(|octet| char::from(LETTERS[usize::from(octet % 32)])).collect())
    }

    /// Reads a code as people write it: any case, with or without dashes and spaces, O for 0, I and L for 1.
    ///
    /// # Errors
    /// [`BadCode`].
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let letter = |c: char| match c.to_ascii_uppercase() {
            'O' => Ok('0'),
            'I' | 'L' => Ok('1'),
            c if c.is_ascii() && LETTERS.contains(&(c as u8)) => Ok(c),
            _ => Err(BadCode),
        };
        let code: String =
            text.chars().filter(|c| !matches!(c, '-' | ' ')).take(LENGTH + 1).map(letter).collect::<Result<_, _>>()?;
        if code.len() == LENGTH { Ok(Self(code)) } else { Err(BadCode) }
    }

    /// What is kept and sent: 100 random bits cannot be guessed from their hash.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::new().chain_update(b"suture/1 code").chain_update(self.0.as_bytes()).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_survives_how_people_write_it() {
        let code = Code::generate();
        let text = code.to_string();
        assert_eq!(Code::parse(&text), Ok(code.clone()));
        assert_eq!(Code::parse(&text.to_lowercase().replace('-', " ")), Ok(code.clone()));
        assert_eq!(Code::parse(&text.replace('0', "o").replace('1', "l")), Ok(code));
        for bad in ["", "7K2PX", "7K2PX-00000-00000-0000U", &format!("{text}0")] {
            assert_eq!(Code::parse(bad), Err(BadCode));
        }
    }
}
