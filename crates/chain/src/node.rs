//! Wires the engine: marshal, state, probe, consensus, gossip, and the task behind the handle.

use crate::{
    Ask, Config, Tip,
    app::App,
    block::{Block, Db, Dbs, Key, Op, Scheme, database},
    bodies::Bodies,
    epochs::{self, Evidence, Manager, Schemes, Track},
    pool::Pool,
    serve::{self, GOSSIP_OCTETS_MAX, Serve, Shared},
    stores::{Checked, Damage},
};
use commonware_broadcast::buffered;
use commonware_codec::FixedSize as _;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{
        self, Update,
        core::Actor as MarshalActor,
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex,
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible as _, Signer as _, certificate::Verifier as _, ed25519};
use commonware_glue::stateful::{
    Config as StatefulConfig, Stateful, SyncPlan,
    db::{DatabaseSet, SyncEngineConfig, p2p as state_resolver},
    probe::{self, Probe},
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender, max_message_size, utils::mux::prefixed};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage, buffer::paged::CacheRef};
use commonware_storage::{archive::prunable, mmr, translator::EightCap};
use commonware_utils::{NZDuration, NZU16, NZU64, NZUsize};
use rand_core::{CryptoRng, Rng};
use std::{num::NonZeroU64, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use wire::engine::{Digest, namespace, set_of};

/// vote, certificate, resolver, backfill, broadcast, registry, strands, probe, transactions.
pub(crate) const CHANNELS: u64 = 9;
const SERVE_OPS: NonZeroU64 = NZU64!(64);
const VALIDATORS_MAX: u32 = 64;
/// What every partition's name begins with: a format.
pub(crate) const PREFIX: &str = "c";

/// The largest message of any channel; it may never shrink while old blocks remain.
pub(crate) fn message_limit() -> u32 {
    max_message_size(&[
        prefixed(simplex::max_payload_size::<Scheme, Digest>(VALIDATORS_MAX)),
        marshal::max_payload_size::<Standard<Block>, Scheme>(VALIDATORS_MAX, &()),
        probe::max_payload_size::<Standard<Block>, Scheme>(VALIDATORS_MAX),
        state_resolver::max_payload_size::<mmr::Family, Digest>(SERVE_OPS, Op::SIZE),
        GOSSIP_OCTETS_MAX,
    ])
}

fn archive<C>(prefix: &str, name: &str, page_cache: CacheRef, codec_config: C) -> prunable::Config<EightCap, C> {
    prunable::Config {
        translator: EightCap,
        metadata_partition: format!("{prefix}-{name}-metadata"),
        key_partition: format!("{prefix}-{name}-key"),
        key_page_cache: page_cache,
        value_partition: format!("{prefix}-{name}-value"),
        compression: None,
        codec_config,
        items_per_section: NZU64!(1024),
        key_write_buffer: NZUsize!(1 << 16),
        value_write_buffer: NZUsize!(1 << 16),
        replay_buffer: NZUsize!(1 << 16),
    }
}

/// What a node is given beside its configuration.
pub(crate) struct Parts {
    pub(crate) config: Config,
    /// [`PREFIX`], except where members share one storage, which they do in the simulator only.
    pub(crate) prefix: String,
    pub(crate) bodies: Arc<dyn Bodies>,
    pub(crate) track: Track,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) tip: Arc<watch::Sender<Tip>>,
    pub(crate) shared: Arc<Shared>,
}

/// Starts all actors; the handle ends when any of them does.
pub(crate) async fn start<E, P, B, S, R, X>(
    context: E,
    parts: Parts,
    peers: P,
    blocker: B,
    channels: Vec<(S, R)>,
    extra: Option<X>,
) -> (Handle<()>, marshal::core::Mailbox<Scheme, Standard<Block>>)
where
    E: Spawner + Clock + Storage + Metrics + CryptoRng + Rng,
    P: Provider<PublicKey = Key>,
    B: Blocker<PublicKey = Key>,
    S: Sender<PublicKey = Key>,
    R: Receiver<PublicKey = Key>,
    X: Reporter<Activity = Update<Block>>,
{
    let Parts { config, prefix, bodies, track, asks, tip, shared } = parts;
    let signer = private_key(&config);
    let me = signer.public_key();
    let set = set_of(&config.genesis).expect("the genesis was checked");
    let network = config.genesis.id();
    // Eagerly allocated: 1024 pages are 4 MiB.
    let page_cache = CacheRef::new(NZU16!(4096 - 12), NZUsize!(1024));
    let mut channels = channels.into_iter();
    let mut channel = || channels.next().expect("one channel for each use");
    let (vote, certificate, resolver_channel) = (channel(), channel(), channel());
    let (backfill, broadcast, registry, strands) = (channel(), channel(), channel(), channel());
    let (probe_channel, gossip) = (channel(), channel());
    let mailbox = NZUsize!(256);

    let first = Block::genesis(network, set.clone(), <Dbs<E> as DatabaseSet<E>>::initial_sync_targets());
    let schemes = Schemes::new(signer, namespace(&network));
    schemes.register(Epoch::zero(), set.clone());
    track(Epoch::zero(), &set);
    shared.set_validators(set.len(), schemes.signing.clone());

    let resolver = marshal_resolver::init(
        context.child("marshal_resolver"),
        marshal_resolver::Config {
            public_key: me.clone(),
            peer_provider: peers.clone(),
            blocker: blocker.clone(),
            mailbox_size: mailbox,
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        backfill,
    );
    let (broadcast_engine, buffer) = buffered::Engine::<_, Key, Block, _, _>::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: me.clone(),
            mailbox_size: mailbox,
            deque_size: 16,
            priority: true,
            codec_config: (),
            peer_provider: peers.clone(),
            strategy: Sequential,
        },
    );
    let broadcast_handle = broadcast_engine.start(broadcast);

    let damage = Damage::default();
    shared.set_damage(damage.clone());
    let certificates = prunable::Archive::init(
        context.child("finalizations"),
        archive(&prefix, "finalizations", page_cache.clone(), Scheme::certificate_codec_config_unbounded()),
    )
    .await
    .expect("the archive of certificates opens");
    let blocks = prunable::Archive::init(context.child("blocks"), archive(&prefix, "blocks", page_cache.clone(), ()))
        .await
        .expect("the archive of blocks opens");
    let (certificates, blocks) = (Checked::new(certificates, damage.clone()), Checked::new(blocks, damage));

    let blocks_per_epoch =
        NonZeroU64::new(config.genesis.parameters.blocks_per_epoch).expect("the genesis was checked");
    let epocher = FixedEpocher::new(blocks_per_epoch);
    let plan = SyncPlan::init(context.child("plan"), prefix.clone()).await;
    let (probe, probe_mailbox) = Probe::new(probe::Config {
        context: context.child("probe"),
        provider: schemes.clone(),
        strategy: Sequential,
        mailbox_size: mailbox,
        blocker: blocker.clone(),
        minimum_epoch: Epoch::zero(),
        retry_timeout: NZDuration!(Duration::from_millis(500)),
    });
    let probe_handle = probe.start(probe_channel);
    let anchor = Digested::precomputed(first.clone(), first.digest());
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        context.child("marshal"),
        certificates,
        blocks,
        marshal::Config {
            provider: schemes.clone(),
            epocher: epocher.clone(),
            start: plan.marshal_start(anchor),
            partition_prefix: prefix.clone(),
            mailbox_size: mailbox,
            view_retention: ViewDelta::new(32),
            prunable_items_per_section: NZU64!(1024),
            page_cache: page_cache.clone(),
            replay_buffer: NZUsize!(1 << 16),
            key_write_buffer: NZUsize!(1 << 16),
            value_write_buffer: NZUsize!(1 << 16),
            block_codec_config: (),
            max_repair: NZUsize!(32),
            max_pending_acks: NZUsize!(16),
            strategy: Sequential,
        },
    )
    .await;

    let state_config = |name: &'static str| {
        (
            context.child(name),
            state_resolver::Config {
                peer_provider: peers.clone(),
                blocker: blocker.clone(),
                database: None,
                mailbox_size: mailbox,
                me: Some(me.clone()),
                fetch_timeout: NZDuration!(Duration::from_secs(2)),
                fetch_retry_delay: Duration::from_millis(100),
                max_serve_ops: SERVE_OPS,
                priority_requests: false,
                priority_responses: false,
            },
        )
    };
    let (of_context, of_config) = state_config("registry_resolver");
    let (registry_actor, registry_resolver) =
        state_resolver::Actor::<_, Key, _, _, mmr::Family, Db<E>>::new(of_context, of_config);
    let registry_handle = registry_actor.start(registry);
    let (of_context, of_config) = state_config("strands_resolver");
    let (strands_actor, strands_resolver) =
        state_resolver::Actor::<_, Key, _, _, mmr::Family, Db<E>>::new(of_context, of_config);
    let strands_handle = strands_actor.start(strands);

    let pool = Arc::new(Pool::default());
    shared.set_pool(&pool);
    let genesis = Arc::new(config.genesis.clone());
    let app = App {
        genesis: genesis.clone(),
        first: first.clone(),
        set: set.clone(),
        pool: pool.clone(),
        bodies,
        tip: tip.clone(),
        epocher: epocher.clone(),
        pace: config.pace,
    };
    let (stateful, stateful_mailbox) = Stateful::new(
        context.child("stateful"),
        StatefulConfig {
            application: app,
            db_config: (
                database(&prefix, "registry", page_cache.clone()),
                database(&prefix, "strands", page_cache.clone()),
            ),
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: mailbox,
            plan,
            resolvers: (registry_resolver, strands_resolver),
            sync_config: SyncEngineConfig {
                fetch_batch_size: SERVE_OPS,
                apply_batch_size: NZU64!(1024),
                max_outstanding_requests: NZUsize!(16),
            },
            prune_config: None,
            strategy: Sequential,
        },
    );
    let automaton =
        Deferred::new(context.child("deferred"), stateful_mailbox.clone(), marshal.clone(), epocher.clone());
    let (of_blocks, blocks) = epochs::mailbox();
    let reporters =
        Reporters::from((stateful_mailbox.clone(), Reporters::<epochs::Blocks, X>::from((Some(of_blocks), extra))));
    let marshal_handle = marshal_actor.start(reporters, buffer, resolver);
    probe_mailbox.attach(marshal.clone());
    let stateful_handle = stateful.start();
    let evidence = Evidence::default();
    shared.set_evidence(evidence.clone());
    let manager = Manager {
        context: context.child("epochs"),
        schemes,
        epocher,
        marshal: marshal.clone(),
        automaton,
        blocker,
        track,
        prefix,
        page_cache,
        evidence,
        leader_timeout: config.pace.leader,
        first: (set, first.digest()),
        blocks,
    };
    let manager_handle = manager.start(vote, certificate, resolver_channel);
    let serving = Serve { genesis, pool, tip, asks, marshal: marshal.clone(), state: stateful_mailbox };
    let serve_handle = serve::start(context.child("serve"), serving, gossip);
    let handle = context.child("supervisor").spawn(move |_| async move {
        let ended = Handle::select([
            broadcast_handle,
            probe_handle,
            registry_handle,
            strands_handle,
            marshal_handle,
            stateful_handle,
            manager_handle,
            serve_handle,
        ])
        .await;
        tracing::info!(?ended, "a part of the chain ended");
    });
    (handle, marshal)
}

/// The consensus key, which is the transport key too.
pub(crate) fn private_key(config: &Config) -> ed25519::PrivateKey {
    use commonware_codec::DecodeExt as _;
    ed25519::PrivateKey::decode(commonware_codec::Copying(&config.consensus_secret.expose()[..]))
        .expect("any 32 octets are an Ed25519 seed")
}
