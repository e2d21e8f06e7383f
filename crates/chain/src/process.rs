//! The chain of a real member: the engine's own runtime on a thread of its own, and the authenticated network.

use crate::{
    Chain, Config, Tip,
    bodies::Files,
    epochs::Track,
    node::{self, CHANNELS, PREFIX, Parts},
    serve::Shared,
};
use commonware_consensus::{Reporter, marshal::Update};
use commonware_cryptography::{ChaCha20Poly1305, ed25519};
use commonware_p2p::{Address, AddressableManager as _, AddressableTrackedPeers, authenticated::lookup};
use commonware_runtime::{Quota, Runner as _, Supervisor as _, tokio as engine};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZU32, NZUsize, ordered::Map};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Messages per second and peer on a channel, and the burst. Inbound queues are allocated for it, so it is what
/// decides the memory of an idle member.
pub(crate) const QUOTA: Quota = Quota::per_second(NZU32!(128));

/// Stack of the thread that starts the engine: its futures nest deeply, most of all in unoptimised builds. It is
/// reserved, not used.
pub(crate) const STACK: usize = 64 << 20;

/// Why a chain did not start.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A member of the genesis has a consensus key that is none.
    #[error("the consensus key of {0} in the genesis is not an Ed25519 key")]
    BadKey(String),
    /// The folder cannot be used.
    #[error("the chain's folder cannot be used: {0}")]
    Directory(#[from] io::Error),
}

/// Why a chain ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the chain ended: {0}")]
pub struct Ended(pub String);

/// A running chain. Dropping it stops the chain.
#[derive(Debug)]
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Running {
    /// Resolves when the chain ends by itself.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let found = ended.wait_for(Option::is_some).await.ok().and_then(|e| e.clone());
        found.unwrap_or_else(|| Ended("its thread is gone".into()))
    }

    /// Stops the chain and waits for it.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended before.
            let _ended = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Starts a chain.
///
/// # Errors
/// [`Failure`] when the genesis or the folder cannot be used. What goes wrong later, [`Running::ended`] tells.
pub fn start(config: Config) -> Result<(Chain, Running), Failure> {
    let directory: Vec<(ed25519::PublicKey, SocketAddr)> = peers(&config)?;
    let bodies = Arc::new(Files::open(&config.directory.join("bodies"))?);
    let (ask, asks) = mpsc::channel(256);
    let (tip, tips) = watch::channel(Tip::unheard());
    let shared = Arc::new(Shared::new(bodies.clone()));
    let chain = Chain { asks: ask, tip: tips, shared: shared.clone() };
    let (stop, stopped) = oneshot::channel();
    let (tell, ended) = watch::channel(None);
    let settings = engine::Config::new().with_worker_threads(2).with_storage_directory(config.directory.join("engine"));
    let thread = std::thread::Builder::new().name("chain".into()).stack_size(STACK).spawn(move || {
        let run = std::panic::AssertUnwindSafe(|| {
            engine::Runner::new(settings).start(|context| async move {
                let signer = node::private_key(&config);
                let mut network = lookup::Config::local(
                    Cups::<_, ChaCha20Poly1305>::new(
                        Sake {
                            signer: signer.clone(),
                            synchrony_bound: Duration::from_secs(5),
                            max_handshake_age: Duration::from_secs(10),
                            version: sake::Version::V1,
                        },
                        cups::Version::V1,
                    ),
                    &wire::engine::namespace(&config.genesis.id()),
                    config.listen,
                    NZUsize!(32),
                    node::message_limit(),
                    NZUsize!(256),
                );
                network.tracked_peer_sets = NZUsize!(2);
                network.max_peers_per_set = std::num::NonZeroUsize::new(directory.len() + 1).unwrap_or(NZUsize!(1));
                network.allowed_handshake_rate_per_ip = Quota::per_second(NZU32!(64));
                let (mut network, oracle) = lookup::Network::new(context.child("network"), network);
                let channels: Vec<_> = (0..CHANNELS).map(|channel| network.register(channel, QUOTA)).collect();
                let network = network.start();
                let track = track(oracle.clone(), directory);
                let parts =
                    Parts { config, prefix: PREFIX.to_owned(), bodies, track, asks, tip: Arc::new(tip), shared };
                let (node, _) = node::start::<_, _, _, _, _, Nobody>(
                    context.child("node"),
                    parts,
                    oracle.clone(),
                    oracle,
                    channels,
                    None,
                )
                .await;
                tokio::select! {
                    _ = stopped => None,
                    ended = network => Some(format!("the network ended: {ended:?}")),
                    ended = node => Some(format!("the engine ended: {ended:?}")),
                }
            })
        });
        let cause = match std::panic::catch_unwind(run) {
            Ok(cause) => cause,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                Some(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
            }
        };
        tell.send_replace(Some(Ended(cause.unwrap_or_else(|| "it was stopped".into()))));
    })?;
    Ok((chain, Running { stop: Some(stop), thread: Some(thread), ended }))
}

fn peers(config: &Config) -> Result<Vec<(ed25519::PublicKey, SocketAddr)>, Failure> {
    use commonware_codec::DecodeExt as _;
    let mut directory = Vec::new();
    for member in &config.genesis.members {
        let key = ed25519::PublicKey::decode(commonware_codec::Copying(&member.consensus[..]))
            .map_err(|_| Failure::BadKey(member.title.clone()))?;
        let address = if member.number == config.me {
            Some(config.listen)
        } else {
            config.peers.iter().find(|(number, _)| *number == member.number).map(|(_, address)| *address)
        };
        directory.extend(address.map(|address| (key, address)));
    }
    Ok(directory)
}

/// Validators are primary peers, every other member is secondary.
fn track(oracle: lookup::Oracle<ed25519::PublicKey>, directory: Vec<(ed25519::PublicKey, SocketAddr)>) -> Track {
    let oracle = Mutex::new(oracle);
    Arc::new(move |epoch, set| {
        let (primary, secondary): (Vec<_>, Vec<_>) =
            directory.iter().cloned().partition(|(key, _)| set.position(key).is_some());
        let map = |peers: Vec<(ed25519::PublicKey, SocketAddr)>| -> Map<ed25519::PublicKey, Address> {
            Map::from_iter_dedup(peers.into_iter().map(|(key, address)| (key, Address::Symmetric(address))))
        };
        let peers = AddressableTrackedPeers::new(map(primary), map(secondary));
        oracle.lock().expect("no panic while held").track(epoch.get(), peers);
    })
}

/// No observer besides the chain itself.
#[derive(Clone)]
struct Nobody;

impl Reporter for Nobody {
    type Activity = Update<crate::block::Block>;
    fn report(&mut self, _: Self::Activity) -> commonware_actor::Feedback {
        commonware_actor::Feedback::Ok
    }
}
