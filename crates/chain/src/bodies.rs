//! The side store: bodies that are larger than a value of the state, each under its hash.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use wire::{Hash, state::body_name};

/// Where bodies lie.
pub(crate) trait Bodies: Send + Sync {
    /// Keeps a body; durable when it returns.
    fn put(&self, body: &[u8]) -> io::Result<()>;
    /// A body that hashes to `name`.
    fn get(&self, name: &Hash) -> Option<Vec<u8>>;
}

/// Bodies in files named by their hashes.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "new") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self(directory.to_owned()))
    }

    fn path(&self, name: &Hash) -> PathBuf {
        self.0.join(name.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
    }
}

impl Bodies for Files {
    fn put(&self, body: &[u8]) -> io::Result<()> {
        let path = self.path(&body_name(body));
        if path.exists() {
            return Ok(());
        }
        let new = path.with_extension("new");
        let mut file = fs::File::create(&new)?;
        file.write_all(body)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(&self.0)?.sync_all()
    }

    fn get(&self, name: &Hash) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok().filter(|body| body_name(body) == *name)
    }
}
