//! Founds a network: keys, genesis, directories.

use crate::config::{Peer, Peers, Settings, write_private};
use anyhow::{Context as _, Result};
use lab::network::MemberPlan;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use store::{Backend, Sqlite};
use wire::{
    Format as _,
    genesis::{Genesis, Kind, Member, Parameters},
    keys::{Secret, Seed},
    seal::Opener,
    sign::Signer,
};

/// A founded network.
pub(crate) struct Founded {
    /// The genesis file.
    pub(crate) genesis: PathBuf,
    /// Token of each member's operator, in the order of the plan.
    pub(crate) operator_tokens: Vec<String>,
}

/// Seconds between batches of record pages in a demo; a real network takes 600.
const DEMO_INTERVAL_S: u32 = 1;

/// Makes the directories of all members under `root`.
pub(crate) async fn found(plan: &[MemberPlan], root: &Path) -> Result<Founded> {
    let mut secrets = Vec::new();
    let mut members = Vec::new();
    for (number, member) in (1..).zip(plan) {
        let (seed, consensus, hpke) = (Secret::generate(), Secret::generate(), Secret::generate());
        members.push(Member {
            number,
            name: member.name.clone(),
            title: member.title.clone(),
            kind: Kind::parse(&member.kind).context("a member's kind is not known")?,
            identity: Seed::new(seed.clone()).identity().public(),
            consensus: Signer::from_seed(consensus.expose()).public(),
            hpke: Opener::from_seed(hpke.clone()).public(),
            validator: true,
        });
        secrets.push((seed, consensus, hpke));
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let genesis = Genesis {
        format: 1,
        network: "demo".into(),
        time_ms: u64::try_from(since.as_millis())?,
        nonce: wire::random(),
        parameters: Parameters { interval_s: DEMO_INTERVAL_S, ..Parameters::default() },
        members,
    };
    let octets = genesis.to_octets();
    Genesis::from_octets(&octets).context("the plan does not make a genesis")?;
    fs::create_dir_all(root)?;
    let path = root.join("genesis");
    // No secret: whoever checks a proof needs it.
    fs::write(&path, &octets)?;
    let peers = Peers {
        member: plan
            .iter()
            .map(|m| Peer { name: m.name.clone(), p2p: m.p2p, peer: format!("http://{}", m.peer), fhir: m.fhir() })
            .collect(),
    };
    let mut operator_tokens = Vec::new();
    for (member, (seed, consensus, hpke)) in plan.iter().zip(secrets) {
        let directory = &member.dir;
        for folder in ["keys", "data"] {
            fs::create_dir_all(directory.join(folder))?;
        }
        let settings = Settings {
            name: member.name.clone(),
            web: member.web,
            url: None,
            peer: member.peer,
            p2p: member.p2p,
            block_ms: 100,
            idle_ms: 1_000,
            leader_ms: 2_000,
        };
        write_private(&directory.join("suture.toml"), toml::to_string(&settings)?.as_bytes())?;
        write_private(&directory.join("keys/peers.toml"), toml::to_string(&peers)?.as_bytes())?;
        write_private(&directory.join("keys/genesis"), &octets)?;
        write_private(&directory.join("keys/seed"), hex(&seed).as_bytes())?;
        write_private(&directory.join("keys/consensus"), hex(&consensus).as_bytes())?;
        let store: Arc<dyn Backend> = Arc::new(Sqlite::open(&directory.join("data/suture.db"))?);
        let seed = Seed::new(seed);
        let operator = format!("Operator of {}", member.title);
        let founding = records::Founding { genesis: &genesis, seed: &seed, hpke: &hpke, operator: &operator };
        operator_tokens.push(records::found(store, &founding).await?);
    }
    Ok(Founded { genesis: path, operator_tokens })
}

fn hex(secret: &Secret) -> String {
    data_encoding::HEXLOWER.encode(secret.expose())
}
