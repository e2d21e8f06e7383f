//! The plan of a network on one machine: which members, where.

use anyhow::Result;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

/// A member to be made.
#[derive(Debug, Clone)]
pub struct MemberPlan {
    /// Short name.
    pub name: String,
    /// Title.
    pub title: String,
    /// `hospital`, `laboratory`, `clinic` or `public-health`.
    pub kind: String,
    /// Its directory.
    pub dir: PathBuf,
    /// Address of its engine.
    pub p2p: SocketAddr,
    /// Address for calls of members.
    pub peer: SocketAddr,
    /// Address of pages and FHIR.
    pub web: SocketAddr,
}

impl MemberPlan {
    /// Base URL of its pages.
    #[must_use]
    pub fn web_base(&self) -> String {
        format!("http://{}", self.web)
    }

    /// Base URL of its FHIR interface.
    #[must_use]
    pub fn fhir(&self) -> String {
        format!("http://{}/fhir", self.web)
    }
}

/// Plans 4 to 9 members under `root`, on ports that are free now.
///
/// # Errors
/// When no port is to be had.
pub fn plan(count: usize, root: &Path) -> Result<Vec<MemberPlan>> {
    let known = [
        ("north", "North Hospital", "hospital"),
        ("south", "South Hospital", "hospital"),
        ("lab", "City Laboratory", "laboratory"),
        ("clinic", "Harbour Clinic", "clinic"),
        ("health", "Public Health Office", "public-health"),
    ];
    let mut names: Vec<(String, String, String)> =
        known.iter().take(count).map(|(n, t, k)| ((*n).into(), (*t).into(), (*k).into())).collect();
    names.extend((6..=count).map(|n| (format!("m{n}"), format!("Member {n}"), "clinic".into())));
    // All are held until all are picked, so that no port is picked twice.
    let held: Vec<TcpListener> =
        (0..names.len() * 3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let members = names.into_iter().zip(ports.chunks(3)).map(|((name, title, kind), ports)| MemberPlan {
        dir: root.join(&name),
        name,
        title,
        kind,
        p2p: ports[0],
        peer: ports[1],
        web: ports[2],
    });
    Ok(members.collect())
}
