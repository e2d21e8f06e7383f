//! A member's directory: `suture.toml` and `keys/` are what an operator keeps; all the rest can be rebuilt.
//!
//! ```text
//! suture.toml        name, number, addresses
//! keys/seed          32 octets in hexadecimal: identity, manifest and wrapping keys grow from it
//! keys/consensus     32 octets in hexadecimal: the consensus key
//! keys/genesis       a copy of the genesis
//! keys/peers.toml    where the other members are
//! data/ vault/ chain/ member.log
//! ```

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};
use wire::{Format as _, genesis::Genesis, keys::Secret};

/// `suture.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Name of the member in the genesis.
    pub(crate) name: String,
    /// Where pages and FHIR are served.
    pub(crate) web: SocketAddr,
    /// Under which base URL people and apps reach it, when that is not `http://` and `web`: behind a proxy with TLS
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Where other members call.
    pub(crate) peer: SocketAddr,
    /// Where other members' engines connect.
    pub(crate) p2p: SocketAddr,
    /// Least milliseconds between blocks.
    pub(crate) block_ms: u64,
    /// Milliseconds that a proposer waits for a transaction before it proposes an empty block.
    pub(crate) idle_ms: u64,
    /// Milliseconds that a silent leader is waited for.
    pub(crate) leader_ms: u64,
}

/// `keys/peers.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peers {
    /// All members, this one included.
    pub(crate) member: Vec<Peer>,
}

/// Where a member is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) p2p: SocketAddr,
    pub(crate) peer: String,
    pub(crate) fhir: String,
}

/// All that a member starts from.
pub(crate) struct Member {
    pub(crate) settings: Settings,
    pub(crate) peers: Peers,
    pub(crate) genesis: Genesis,
    pub(crate) seed: Secret,
    pub(crate) consensus: Secret,
}

impl Member {
    /// Reads a member's directory.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let text = |name: &str| {
            fs::read_to_string(directory.join(name)).with_context(|| {
                format!("{name} in {} cannot be read: is this a member's directory?", directory.display())
            })
        };
        let settings: Settings = toml::from_str(&text("suture.toml")?).context("suture.toml is not understood")?;
        let peers: Peers = toml::from_str(&text("keys/peers.toml")?).context("keys/peers.toml is not understood")?;
        let genesis = fs::read(directory.join("keys/genesis")).context("keys/genesis cannot be read")?;
        let genesis = Genesis::from_octets(&genesis).context("keys/genesis is not a genesis")?;
        Ok(Self {
            settings,
            peers,
            genesis,
            seed: secret(directory, "keys/seed")?,
            consensus: secret(directory, "keys/consensus")?,
        })
    }
}

fn secret(directory: &Path, name: &str) -> Result<Secret> {
    let path = directory.join(name);
    let mode = fs::metadata(&path).with_context(|| format!("{name} cannot be read"))?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{name} may be read by others (mode {:o}): run `chmod 600 {}`", mode & 0o777, path.display());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{name} cannot be read"))?;
    let octets = data_encoding::HEXLOWER.decode(text.trim().as_bytes()).ok().and_then(|o| o.try_into().ok());
    Ok(Secret::new(octets.with_context(|| format!("{name} must hold 64 hexadecimal digits"))?))
}

/// Writes a file that only its owner may read; it must not exist yet.
pub(crate) fn write_private(path: &Path, octets: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(octets)?;
    file.sync_all()?;
    Ok(())
}
