//! The manifest: where everything that a member entered lies, and what opens it.
//!
//! Page `i` of the manifest strand is replicated, sealed, under the name `PRF(L, "at", i)`, which the key file alone
//! yields; its own key is wrapped beside it. From the pages a member that lost its disk finds everything again.

use crate::{
    codec::{DecodeError, Format, TlsDeserialize, TlsSerialize, TlsSize},
    hash::Hash,
    keys::{Secret, Wrapped, WrappingKey},
    message::ReleasedRecord,
    seal::{NotOpened, open_once, seal_once},
    strand::{OpenedPage, StrandKey, StrandKind},
};

/// One line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
#[repr(u8)]
pub enum Line {
    /// A strand began.
    #[tls_codec(discriminant = 1)]
    Strand {
        /// Place of its entry 0.
        entry: Hash,
        /// Its kind.
        kind: StrandKind,
        /// Its key.
        key: StrandKey,
        /// Whose: the logical id of the Patient at this member, empty for the member's own.
        #[tls_codec(with = "crate::codec::text")]
        owner: String,
    },
    /// A record was entered.
    Record {
        /// Place of entry 0 of its strand.
        strand: Hash,
        /// Page in the strand.
        page: u64,
        /// Leaf in the page.
        leaf: u16,
        /// All that opens it.
        record: ReleasedRecord,
    },
    /// A page of items was entered.
    Items {
        /// Place of entry 0 of its strand.
        strand: Hash,
        /// Page in the strand.
        page: u64,
        /// The page.
        opened: OpenedPage,
    },
}
crate::format!(Line, crate::strand::PAYLOAD_OCTETS_MAX);

/// A manifest page as members keep it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserialize)]
pub struct SealedPage {
    /// Format octet, 1.
    pub format: u8,
    /// The page's key.
    pub wrapped: Wrapped,
    /// The page, sealed under it.
    #[tls_codec(with = "crate::codec::octets")]
    pub sealed: Vec<u8>,
}
crate::format!(SealedPage, 16 << 20, check);

fn check(page: &SealedPage) -> Result<(), DecodeError> {
    if page.format != 1 {
        return Err(DecodeError::malformed("SealedPage", "format is not 1"));
    }
    Ok(())
}

impl SealedPage {
    /// Seals a manifest page for its name.
    #[must_use]
    pub fn seal(kek: &WrappingKey, name: &Hash, page: &OpenedPage) -> Self {
        let key = Secret::generate();
        Self { format: 1, wrapped: kek.wrap(name, &key), sealed: seal_once(&key, name, &page.to_octets()) }
    }

    /// Opens a manifest page.
    ///
    /// # Errors
    /// [`NotOpened`] for another key or name, or altered octets.
    pub fn open(&self, kek: &WrappingKey, name: &Hash) -> Result<OpenedPage, NotOpened> {
        let key = kek.unwrap(name, &self.wrapped)?;
        let octets = open_once(&key, name, &self.sealed)?;
        OpenedPage::from_octets(&octets).map_err(|_| NotOpened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{PAD_0, Seed},
        strand::PageKind,
    };

    #[test]
    fn a_manifest_page_opens_with_the_key_file_under_its_name_only() {
        let seed = Seed::new(Secret::new([1; 32]));
        let kek = seed.wrapping(0, &PAD_0);
        let name = seed.manifest().name(3);
        let line =
            Line::Strand { entry: [1; 32], kind: StrandKind::Records, key: StrandKey::generate(), owner: "p".into() };
        let page = OpenedPage::items(PageKind::Items, [line.to_octets()]);
        let sealed = SealedPage::seal(&kek, &name, &page);
        let again = SealedPage::from_octets(&sealed.to_octets()).unwrap();
        assert_eq!(again.open(&kek, &name).unwrap(), page);
        assert!(again.open(&kek, &seed.manifest().name(4)).is_err());
        assert!(again.open(&Seed::new(Secret::new([2; 32])).wrapping(0, &PAD_0), &name).is_err());
    }
}
