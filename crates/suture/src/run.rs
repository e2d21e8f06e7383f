//! Runs one member until it is told to stop.

use crate::config::Member;
use anyhow::{Context as _, Result, bail};
use lab::process::LOCK;
use records::{Config, Parts, Records};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use store::Sqlite;
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use wire::{
    genesis::Genesis,
    keys::{Secret, Seed},
    sign::Signer,
};

/// Runs the member in `directory`.
pub(crate) fn run(directory: &Path, until_stdin_closes: bool) -> Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SUTURE_LOG");
    let filter = filter.unwrap_or_else(|_| {
        "warn,suture=info,records=info,edge=info,commonware_storage=error,commonware_p2p=error".into()
    });
    // A log that cannot be written, on a full disk for instance, must not take the member down: by itself the logger would
    // panic in whatever thread has something to say.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    let directory = directory.canonicalize().with_context(|| format!("there is no {}", directory.display()))?;
    let member = Member::read(&directory)?;
    let _lock = lock(&directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(serve(&directory, member, until_stdin_closes));
    // What still blocks a thread, a read of standard input for instance, is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Takes the directory for this process, until the file is closed.
fn lock(directory: &Path) -> Result<File> {
    let path = directory.join(LOCK);
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
    if file.try_lock().is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid)?;
        bail!("{} is in use by process {}: stop that one first", directory.display(), pid.trim());
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

async fn serve(directory: &Path, member: Member, until_stdin_closes: bool) -> Result<ExitCode> {
    let Member { settings, peers, genesis, seed, consensus } = member;
    let me = genesis.named(&settings.name).map(|m| m.number);
    let me = me.with_context(|| format!("the genesis has no member named {}", settings.name))?;
    fits(&genesis, me, &seed, &consensus)?;
    let numbered = || peers.member.iter().filter_map(|p| genesis.named(&p.name).map(|m| (m.number, p)));
    let web = bind(settings.web, "web").await?;
    let peer = bind(settings.peer, "peer").await?;
    let store = Arc::new(Sqlite::open(&directory.join("data/suture.db")).context("the store cannot be opened")?);
    let vault = vault::Vault::open(&directory.join("vault")).context("the vault cannot be opened")?;
    std::fs::create_dir_all(directory.join("chain"))?;
    let (chain, running) = chain::start(chain::Config {
        directory: directory.join("chain"),
        genesis: genesis.clone(),
        me,
        consensus_secret: consensus,
        listen: settings.p2p,
        peers: numbered().map(|(number, p)| (number, p.p2p)).collect(),
        pace: chain::Pace {
            block: Duration::from_millis(settings.block_ms),
            idle: Duration::from_millis(settings.idle_ms),
            leader: Duration::from_millis(settings.leader_ms),
        },
    })?;
    let bases: BTreeMap<u32, String> = numbered().map(|(number, p)| (number, p.peer.clone())).collect();
    let fhir_bases: BTreeMap<u32, String> = numbered().map(|(number, p)| (number, p.fhir.clone())).collect();
    let web_base = match &settings.url {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => url.trim_end_matches('/').to_owned(),
        Some(_) => bail!("`url` in suture.toml must begin with http:// or https://"),
        None => format!("http://{}", settings.web),
    };
    let config = Config { me, genesis, seed: Seed::new(seed), fhir_base: format!("{web_base}/fhir"), fhir_bases };
    let transport = Arc::new(edge::HttpTransport::new(bases)?);
    let parts = Parts { store, vault, chain, transport };
    let (records, tasks) = Records::start(config, parts).await?;
    tracing::info!(member = %settings.name, web = %settings.web, "serving");
    let stop = async move {
        tokio::select! {
            () = told_to_stop() => tracing::info!("stopping"),
            () = stdin_closed(until_stdin_closes) => tracing::info!("standard input was closed: stopping"),
        }
    };
    let served = tokio::select! {
        served = edge::serve(records, web, peer, &web_base, stop) => served.map_err(anyhow::Error::from),
        ended = running.ended() => Err(ended.into()),
    };
    tasks.stop().await;
    tokio::task::spawn_blocking(move || running.stop()).await?;
    served.map(|()| ExitCode::SUCCESS)
}

/// The key files are those of this member of this network.
fn fits(genesis: &Genesis, me: u32, seed: &Secret, consensus: &Secret) -> Result<()> {
    let member = genesis.member(me).context("the genesis has no such member")?;
    let name = &member.name;
    if Seed::new(seed.clone()).identity().public() != member.identity {
        bail!("keys/seed is not the seed of {name} in keys/genesis: put back the right file");
    }
    if Signer::from_seed(consensus.expose()).public() != member.consensus {
        bail!("keys/consensus is not the consensus key of {name} in keys/genesis: put back the right file");
    }
    Ok(())
}

async fn bind(address: std::net::SocketAddr, what: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("the {what} address {address} is taken or not this machine's: change `{what}` in suture.toml, or stop who uses it")
    })
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn stdin_closed(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let mut octets = [0; 64];
    while tokio::io::stdin().read(&mut octets).await.is_ok_and(|n| n > 0) {}
}
