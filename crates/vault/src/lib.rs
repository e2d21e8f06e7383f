//! Where are the sealed bytes, and are they intact?
//!
//! Packs are named by the BLAKE3 of their octets, so what is read is checked by its name; manifest pages lie under a
//! name that only their owner can make, with a checksum beside them (what they must be, their owner's ledger entries
//! say). It never sees plaintext and knows nothing of the ledger's rules.
//!
//! ```text
//! <vault>/<owner>/<2 hex>/<64 hex>      a pack
//! <vault>/<owner>/named/<64 hex>        1 ‖ BLAKE3(octets) ‖ octets
//! ```

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Semaphore;

/// A pack has at most this many octets: one blob of 64 MiB and its tag, padded.
pub const PACK_OCTETS_MAX: usize = (64 << 20) + (256 << 10);
/// Files that are worked on at the same time.
const AT_ONCE: usize = 16;
/// Format of a named blob.
const FORMAT: u8 = 1;
/// Numbers the unfinished files of this process.
static UNFINISHED: AtomicU64 = AtomicU64::new(0);

/// The name of a pack: the BLAKE3 of its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId(pub [u8; 32]);

impl PackId {
    /// Whether these octets are the pack of this name.
    #[must_use]
    pub fn names(&self, octets: &[u8]) -> bool {
        blake3::hash(octets).as_bytes() == &self.0
    }
}

/// Why the vault did not do it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The disk failed.
    #[error("the vault's disk failed: {0}")]
    Io(#[from] io::Error),
    /// What lies there is not what its name says: it is not given out.
    #[error("a blob of the vault is damaged")]
    Damaged,
    /// More octets than a pack may have.
    #[error("a blob of {0} octets is longer than a pack may be")]
    TooLong(usize),
    /// The program is stopping.
    #[error("the vault is closed")]
    Closed,
}

/// A vault in a folder.
#[derive(Debug, Clone)]
pub struct Vault {
    root: Arc<PathBuf>,
    slots: Arc<Semaphore>,
}

impl Vault {
    /// Opens the vault, or makes it. What a crash left half written is removed.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(root: &Path) -> Result<Self, VaultError> {
        fs::create_dir_all(root)?;
        remove_unfinished(root)?;
        Ok(Self { root: Arc::new(root.to_owned()), slots: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Keeps a pack of `owner`; durable when it answers. A pack that is there already stays.
    ///
    /// # Errors
    /// [`VaultError::TooLong`], [`VaultError::Io`].
    pub async fn put(&self, owner: u32, octets: Vec<u8>) -> Result<PackId, VaultError> {
        if octets.len() > PACK_OCTETS_MAX {
            return Err(VaultError::TooLong(octets.len()));
        }
        let root = self.root.clone();
        self.run(move || {
            let id = PackId(*blake3::hash(&octets).as_bytes());
            let path = pack_path(&root, owner, id);
            let there = fs::read(&path).is_ok_and(|found| blake3::hash(&found).as_bytes() == &id.0);
            if there {
                // Who renamed it may not have come to that yet, or have been stopped before.
                sync_folder_of(&path)?;
            } else {
                write(&path, &[&octets])?;
            }
            Ok(id)
        })
        .await
    }

    /// A pack of `owner`, checked against its name.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] when it is not what its name says.
    pub async fn read(&self, owner: u32, id: PackId) -> Result<Option<Vec<u8>>, VaultError> {
        let root = self.root.clone();
        self.run(move || match found(fs::read(pack_path(&root, owner, id)))? {
            Some(octets) if blake3::hash(&octets).as_bytes() == &id.0 => Ok(Some(octets)),
            Some(_) => Err(VaultError::Damaged),
            None => Ok(None),
        })
        .await
    }

    /// Keeps a blob of `owner` under a name, in place of what was there; durable when it answers.
    ///
    /// # Errors
    /// [`VaultError::TooLong`], [`VaultError::Io`].
    pub async fn put_named(&self, owner: u32, name: [u8; 32], octets: Vec<u8>) -> Result<(), VaultError> {
        if octets.len() > PACK_OCTETS_MAX {
            return Err(VaultError::TooLong(octets.len()));
        }
        let root = self.root.clone();
        self.run(move || {
            let sum = blake3::hash(&octets);
            write(&named_path(&root, owner, name), &[&[FORMAT], sum.as_bytes(), &octets])
        })
        .await
    }

    /// A named blob of `owner`.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] when it does not fit the checksum beside it.
    pub async fn read_named(&self, owner: u32, name: [u8; 32]) -> Result<Option<Vec<u8>>, VaultError> {
        let root = self.root.clone();
        self.run(move || match found(fs::read(named_path(&root, owner, name)))? {
            None => Ok(None),
            Some(file) => match file.split_at_checked(33) {
                Some((head, octets)) if head[0] == FORMAT && blake3::hash(octets).as_bytes() == &head[1..] => {
                    Ok(Some(octets.to_vec()))
                }
                _ => Err(VaultError::Damaged),
            },
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let permit = self.slots.clone().acquire_owned().await.map_err(|_| VaultError::Closed)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(|_| VaultError::Closed)?
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn pack_path(root: &Path, owner: u32, id: PackId) -> PathBuf {
    let name = hex(&id.0);
    root.join(owner.to_string()).join(&name[..2]).join(&name)
}

fn named_path(root: &Path, owner: u32, name: [u8; 32]) -> PathBuf {
    root.join(owner.to_string()).join("named").join(hex(&name))
}

fn found(read: io::Result<Vec<u8>>) -> Result<Option<Vec<u8>>, VaultError> {
    match read {
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes beside, syncs, renames, syncs the folder: a crash leaves the old file, the new one, or an unfinished one.
fn write(path: &Path, parts: &[&[u8]]) -> Result<(), VaultError> {
    let folder = path.parent().expect("a blob lies in a folder");
    if !folder.exists() {
        fs::create_dir_all(folder)?;
        for above in folder.ancestors().skip(1).take(2) {
            fs::File::open(above)?.sync_all()?;
        }
    }
    // A file of its own for each writer: two may bring the same name at the same time.
    let unfinished = path.with_extension(format!("{}.new", UNFINISHED.fetch_add(1, Ordering::Relaxed)));
    let written = write_new(&unfinished, parts).and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = written {
        // Best effort: what cannot be removed now is removed when the vault is opened.
        drop(fs::remove_file(&unfinished));
        return Err(error.into());
    }
    sync_folder_of(path)
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Makes durable that the file is where it is.
fn sync_folder_of(path: &Path) -> Result<(), VaultError> {
    let folder = path.parent().expect("a blob lies in a folder");
    Ok(fs::File::open(folder)?.sync_all()?)
}

fn remove_unfinished(folder: &Path) -> Result<(), VaultError> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_unfinished(&path)?;
        } else if path.extension().is_some_and(|e| e == "new") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pack_with_any_changed_octet_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let octets: Vec<u8> = (0..200).collect();
        let id = vault.put(3, octets.clone()).await.unwrap();
        assert_eq!(vault.put(3, octets.clone()).await.unwrap(), id);
        assert_eq!(vault.read(3, id).await.unwrap().unwrap(), octets);
        assert!(vault.read(4, id).await.unwrap().is_none());
        let path = pack_path(folder.path(), 3, id);
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(matches!(vault.read(3, id).await, Err(VaultError::Damaged)));
        }
        vault.put(3, octets.clone()).await.unwrap();
        assert_eq!(vault.read(3, id).await.unwrap().unwrap(), octets, "a damaged pack is replaced by the same pack");
    }

    #[tokio::test]
    async fn a_named_blob_is_checked_and_what_a_crash_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        vault.put_named(1, [7; 32], vec![1, 2, 3]).await.unwrap();
        assert_eq!(vault.read_named(1, [7; 32]).await.unwrap().unwrap(), [1, 2, 3]);
        let path = named_path(folder.path(), 1, [7; 32]);
        let half = path.with_extension("new");
        fs::write(&half, b"half").unwrap();
        Vault::open(folder.path()).unwrap();
        assert!(!half.exists());
        let mut file = fs::read(&path).unwrap();
        for at in 0..file.len() {
            file[at] ^= 1;
            fs::write(&path, &file).unwrap();
            assert!(matches!(vault.read_named(1, [7; 32]).await, Err(VaultError::Damaged)));
            file[at] ^= 1;
        }
    }
}
