//! One consensus engine per epoch; the next epoch's set comes from the last block of the one before.

use crate::{
    app::App,
    block::{Block, Key, Scheme},
};
use commonware_actor::Feedback;
use commonware_consensus::{
    Heightable as _, Reporter,
    marshal::{
        Update,
        core::Mailbox as MarshalMailbox,
        standard::{Deferred, Standard},
    },
    simplex::{
        self,
        config::{Floor, ForwardPolicy, SkipBudget, SkipPolicy},
        elector::RoundRobin,
        scheme::reporter::AttributableReporter,
        types::Activity,
    },
    types::{Epoch, Epocher as _, FixedEpocher, Height, ViewDelta},
};
use commonware_cryptography::{
    Digested, Digestible as _, Sha256,
    certificate::{Provider, Scoped},
    ed25519,
};
use commonware_glue::stateful::Mailbox as StatefulMailbox;
use commonware_macros::select_loop;
use commonware_p2p::{
    Blocker, Receiver, Sender,
    utils::mux::{Builder as _, MuxHandle, Muxer},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage, buffer::paged::CacheRef};
use commonware_utils::{Acknowledgement as _, NZDuration, NZUsize, acknowledgement::Exact, vec::NonEmptyVec};
use futures::{StreamExt as _, channel::mpsc};
use rand_core::CryptoRng;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use wire::engine::{Digest, Set};

/// Epoch → certificate scheme.
#[derive(Clone)]
pub(crate) struct Schemes {
    signer: ed25519::PrivateKey,
    namespace: Arc<Vec<u8>>,
    map: Arc<Mutex<BTreeMap<Epoch, Arc<Scheme>>>>,
    /// Whether this member signs in the newest epoch.
    pub(crate) signing: Arc<AtomicBool>,
}

impl Schemes {
    pub(crate) fn new(signer: ed25519::PrivateKey, namespace: Vec<u8>) -> Self {
        Self { signer, namespace: Arc::new(namespace), map: Arc::default(), signing: Arc::default() }
    }

    /// Registers a set; who is not in it follows without signing.
    pub(crate) fn register(&self, epoch: Epoch, set: Set) -> Arc<Scheme> {
        let signer = Scheme::signer(&self.namespace, set.clone(), self.signer.clone());
        self.signing.store(signer.is_some(), Ordering::Relaxed);
        let scheme = Arc::new(signer.unwrap_or_else(|| Scheme::verifier(&self.namespace, set)));
        self.map.lock().expect("no panic while held").insert(epoch, scheme.clone());
        scheme
    }
}

impl Provider for Schemes {
    type Scope = Epoch;
    type Scheme = Scheme;
    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        self.map.lock().expect("no panic while held").get(&epoch).cloned().map(Scoped::scheme)
    }
}

/// Receives finalized blocks.
#[derive(Clone)]
pub(crate) struct Blocks(mpsc::UnboundedSender<(Digested<Block>, Exact)>);

impl Reporter for Blocks {
    type Activity = Update<Block>;
    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Update::Block(block, acknowledgement) = activity {
            // Bounded by the acknowledgements that may be pending; the manager outlives marshal.
            drop(self.0.unbounded_send((block, acknowledgement)));
        }
        Feedback::Ok
    }
}

/// Verified evidence against validators.
#[derive(Clone, Default)]
pub(crate) struct Evidence(pub(crate) Arc<AtomicUsize>);

impl Reporter for Evidence {
    type Activity = Activity<Scheme, Digest>;
    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let kind = match activity {
            Activity::ConflictingNotarize(_) => "conflicting notarizations",
            Activity::ConflictingFinalize(_) => "conflicting finalizations",
            Activity::NullifyFinalize(_) => "a nullification and a finalization",
            _ => return Feedback::Ok,
        };
        tracing::warn!(kind, "verified evidence: a validator contradicted itself");
        self.0.fetch_add(1, Ordering::Relaxed);
        Feedback::Ok
    }
}

pub(crate) type Automaton<E> = Deferred<E, Scheme, StatefulMailbox<E, App>, Block, FixedEpocher>;
pub(crate) type Track = Arc<dyn Fn(Epoch, &Set) + Send + Sync>;

pub(crate) fn mailbox() -> (Blocks, mpsc::UnboundedReceiver<(Digested<Block>, Exact)>) {
    let (sender, receiver) = mpsc::unbounded();
    (Blocks(sender), receiver)
}

/// Runs the engine of the present epoch and switches at its end.
pub(crate) struct Manager<E, B>
where
    E: Spawner + Clock + Storage + Metrics + CryptoRng,
{
    pub(crate) context: E,
    pub(crate) schemes: Schemes,
    pub(crate) epocher: FixedEpocher,
    pub(crate) marshal: MarshalMailbox<Scheme, Standard<Block>>,
    pub(crate) automaton: Automaton<E>,
    pub(crate) blocker: B,
    pub(crate) track: Track,
    pub(crate) prefix: String,
    pub(crate) page_cache: CacheRef,
    pub(crate) evidence: Evidence,
    pub(crate) leader_timeout: Duration,
    /// The genesis set and digest.
    pub(crate) first: (Set, Digest),
    pub(crate) blocks: mpsc::UnboundedReceiver<(Digested<Block>, Exact)>,
}

struct Active {
    epoch: Epoch,
    handle: Handle<()>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

struct Channels<S: Sender<PublicKey = Key>> {
    vote: MuxHandle<S>,
    certificate: MuxHandle<S>,
    resolver: MuxHandle<S>,
}

impl<E, B> Manager<E, B>
where
    E: Spawner + Clock + Storage + Metrics + CryptoRng,
    B: Blocker<PublicKey = Key>,
{
    pub(crate) fn start<S, R>(mut self, vote: (S, R), certificate: (S, R), resolver: (S, R)) -> Handle<()>
    where
        S: Sender<PublicKey = Key>,
        R: Receiver<PublicKey = Key>,
    {
        let context = self.context.child("run");
        context.spawn(move |context| async move {
            let (mux, vote, mut vote_backup) =
                Muxer::builder(context.child("vote_mux"), vote.0, vote.1).with_backup().build();
            mux.start();
            let (mux, certificate, mut certificate_backup) =
                Muxer::builder(context.child("certificate_mux"), certificate.0, certificate.1).with_backup().build();
            mux.start();
            let (mux, resolver) = Muxer::new(context.child("resolver_mux"), resolver.0, resolver.1);
            mux.start();
            let mut channels = Channels { vote, certificate, resolver };
            let processed = self.marshal.get_processed().await.map(|p| p.height());
            let next = processed.map_or(Height::zero(), |h| h.next());
            let epoch = self.epocher.containing(next).expect("every height has an epoch").epoch();
            let (set, digest) = match epoch.previous() {
                None => self.first.clone(),
                Some(before) => {
                    let last = self.epocher.last(before).expect("an epoch has a last block");
                    let block = self.marshal.get_block(last).await.expect("the last block of the epoch before is kept");
                    (block.inner().header.next.clone().expect("it names the next set"), block.digest())
                }
            };
            let mut active = self.enter(&context, epoch, digest, set, &mut channels).await;
            select_loop! {
                context,
                on_stopped => {},
                Some((theirs, (from, _))) = vote_backup.recv() else break => {
                    self.hint(active.epoch, theirs, from);
                },
                Some((theirs, (from, _))) = certificate_backup.recv() else break => {
                    self.hint(active.epoch, theirs, from);
                },
                Some((block, acknowledgement)) = self.blocks.next() else break => {
                    let last = self.epocher.last(active.epoch).expect("an epoch has a last block");
                    if block.height() == last {
                        let set = block.inner().header.next.clone().expect("verified when it was processed");
                        active = self.enter(&context, active.epoch.next(), block.digest(), set, &mut channels).await;
                    }
                    acknowledgement.acknowledge();
                },
            }
        })
    }

    /// Somebody talks in a later epoch: ask them for the last block of ours.
    fn hint(&self, ours: Epoch, theirs: u64, from: Key) {
        if Epoch::new(theirs) > ours
            && let Some(last) = self.epocher.last(ours)
        {
            self.marshal.hint_finalized(last, NonEmptyVec::new(from));
        }
    }

    async fn enter<S: Sender<PublicKey = Key>>(
        &mut self,
        context: &E,
        epoch: Epoch,
        genesis: Digest,
        set: Set,
        channels: &mut Channels<S>,
    ) -> Active {
        (self.track)(epoch, &set);
        let scheme = self.schemes.register(epoch, set);
        // Who is not in the set runs the engine too: it verifies and follows.
        let engine = simplex::Engine::new(
            context.child("simplex").with_attribute("epoch", epoch),
            simplex::Config {
                scheme: scheme.as_ref().clone(),
                elector: RoundRobin::<Sha256>::default(),
                blocker: self.blocker.clone(),
                automaton: self.automaton.clone(),
                relay: self.automaton.clone(),
                reporter: commonware_consensus::Reporters::from((
                    self.automaton.clone(),
                    // Votes from the network reach a reporter unverified: check before calling it evidence.
                    AttributableReporter::new(
                        context.child("evidence"),
                        scheme.as_ref().clone(),
                        self.evidence.clone(),
                        Sequential,
                        true,
                    ),
                )),
                strategy: Sequential,
                partition: format!("{}-simplex-{epoch}", self.prefix),
                mailbox_size: NZUsize!(256),
                epoch,
                floor: Floor::Genesis(genesis),
                replay_buffer: NZUsize!(1 << 16),
                write_buffer: NZUsize!(1 << 16),
                page_cache: self.page_cache.clone(),
                leader_timeout: self.leader_timeout,
                certification_timeout: self.leader_timeout * 2,
                timeout_retry: Duration::from_millis(500).max(self.leader_timeout / 2),
                view_retention: ViewDelta::new(32),
                skip: SkipPolicy::Enabled { timeout: self.leader_timeout * 3, budget: SkipBudget::Participants },
                fetch_timeout: NZDuration!(Duration::from_secs(2)),
                fetch_retry_delay: Duration::from_millis(100),
                forward: ForwardPolicy::SilentVoters,
                track_historical_votes: true,
            },
        );
        let vote = channels.vote.register(epoch.get()).await.expect("an epoch is entered once");
        let certificate = channels.certificate.register(epoch.get()).await.expect("an epoch is entered once");
        let resolver = channels.resolver.register(epoch.get()).await.expect("an epoch is entered once");
        Active { epoch, handle: engine.start(vote, certificate, resolver) }
    }
}
