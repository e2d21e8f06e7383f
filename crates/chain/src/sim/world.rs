//! A simulated network: its members' disks and history, which survive everything, and what runs of it now.

use super::load::Outbox;
use crate::{
    Chain, Config, Pace, Tip,
    block::{Block, Key, Scheme},
    bodies::Bodies,
    epochs::Track,
    node::{self, CHANNELS, Parts},
    process::QUOTA,
    serve::Shared,
};
use commonware_actor::Feedback;
use commonware_codec::Encode as _;
use commonware_consensus::{
    Heightable as _, Reporter,
    marshal::{Update, core::Mailbox, standard::Standard},
};
use commonware_cryptography::{Digestible as _, Signer as _};
use commonware_p2p::{
    Manager as _, TrackedPeers,
    simulated::{self, Link, Network, Oracle},
};
use commonware_runtime::{
    Clock as _, Handle, Spawner as _, Supervisor as _,
    deterministic::{self, Checkpoint, Context, Runner},
};
use commonware_utils::{Acknowledgement as _, NZUsize, ordered::Set, probability};
use rand_core::Rng as _;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot, watch};
use wire::{
    Hash,
    engine::Digest,
    genesis::{FORMAT, Genesis, Kind, Member, Parameters},
    keys::Secret,
    sign::Signer,
    state::body_name,
};

/// When simulations begin, in seconds since 1970.
const BEGIN_S: u64 = 1_790_000_000;
/// A simulation that has not ended by then in its own time hangs.
const TIMEOUT: Duration = Duration::from_secs(3_600);
const STEP: Duration = Duration::from_millis(20);

/// What a network is like.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) validators: usize,
    /// Members that do not validate; they come last.
    pub(super) followers: usize,
    pub(super) blocks_per_epoch: u64,
    pub(super) pace: Pace,
    pub(super) link: Link,
}

impl Plan {
    pub(super) fn of(validators: usize) -> Self {
        let pace = Pace {
            block: Duration::from_millis(100),
            idle: Duration::from_millis(400),
            leader: Duration::from_millis(1_000),
        };
        let link = Link {
            latency: Duration::from_millis(10),
            jitter: Duration::from_millis(5),
            success_rate: probability!(1.0),
        };
        Self { validators, followers: 0, blocks_per_epoch: 1 << 40, pace, link }
    }

    pub(super) fn members(&self) -> usize {
        self.validators + self.followers
    }

    fn genesis(&self) -> Genesis {
        let member = |index: usize| Member {
            number: number(index),
            name: format!("member-{index}"),
            title: format!("Member {index}"),
            kind: Kind::Hospital,
            identity: identity(index).public(),
            consensus: private_key(index).public_key().encode().as_ref().try_into().expect("a key has 32 octets"),
            hpke: vec![index as u8; wire::seal::PUBLIC_KEY_OCTETS],
            validator: index < self.validators,
        };
        Genesis {
            format: FORMAT,
            network: "simulated".into(),
            time_ms: BEGIN_S * 1_000,
            nonce: [7; 32],
            parameters: Parameters { blocks_per_epoch: self.blocks_per_epoch, ..Parameters::default() },
            members: (0..self.members()).map(member).collect(),
        }
    }
}

/// The number of the member at `index`.
pub(super) fn number(index: usize) -> u32 {
    index as u32 + 1
}

/// The identity key of the member at `index`.
pub(super) fn identity(index: usize) -> Signer {
    Signer::from_seed(&[100 + index as u8; 32])
}

fn secret(index: usize) -> Secret {
    Secret::new([200 + index as u8; 32])
}

/// The consensus key of the member at `index`.
pub(super) fn private_key(index: usize) -> commonware_cryptography::ed25519::PrivateKey {
    use commonware_codec::DecodeExt as _;
    commonware_cryptography::ed25519::PrivateKey::decode(commonware_codec::Copying(&secret(index).expose()[..]))
        .expect("any 32 octets are a seed")
}

/// A side store that survives its member's crashes: what `put` returned from is durable.
#[derive(Default)]
struct Memory(Mutex<HashMap<Hash, Vec<u8>>>);

impl Bodies for Memory {
    fn put(&self, body: &[u8]) -> io::Result<()> {
        self.0.lock().expect("no panic while held").insert(body_name(body), body.to_vec());
        Ok(())
    }
    fn get(&self, name: &Hash) -> Option<Vec<u8>> {
        self.0.lock().expect("no panic while held").get(name).cloned()
    }
}

/// Finalized blocks as members delivered them.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) blocks: BTreeMap<u64, Digest>,
    /// Highest delivery of each member.
    last: BTreeMap<usize, u64>,
    /// What must not be.
    pub(super) wrong: Vec<String>,
}

/// A member's reporter of finalized blocks.
#[derive(Clone)]
struct Observer(usize, Arc<Mutex<Seen>>);

impl Reporter for Observer {
    type Activity = Update<Block>;
    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Update::Block(block, acknowledgement) = activity {
            let (height, digest) = (block.height().get(), block.digest());
            let mut seen = self.1.lock().expect("no panic while held");
            let seen = &mut *seen;
            let known = *seen.blocks.entry(height).or_insert(digest);
            if known != digest {
                seen.wrong.push(format!("member {} has a fork at height {height}", self.0));
            }
            let last = seen.last.entry(self.0).or_default();
            if height > *last + 1 {
                seen.wrong.push(format!("member {} was given height {height} after {last}", self.0));
            }
            *last = height.max(*last);
            acknowledgement.acknowledge();
        }
        Feedback::Ok
    }
}

/// What survives a crash of everything: disks beside the engine's, outboxes, history.
pub(super) struct Story {
    pub(super) plan: Plan,
    pub(super) genesis: Arc<Genesis>,
    seed: u64,
    disk: Option<Checkpoint>,
    bodies: Vec<Arc<Memory>>,
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) outboxes: Vec<Arc<Mutex<Outbox>>>,
    lives: Vec<u64>,
    pub(super) evidence: usize,
    pub(super) crashes: usize,
}

impl Story {
    pub(super) fn new(plan: Plan, seed: u64) -> Self {
        let members = plan.members();
        Self {
            genesis: Arc::new(plan.genesis()),
            plan,
            seed,
            disk: None,
            bodies: (0..members).map(|_| Arc::default()).collect(),
            seen: Arc::default(),
            outboxes: (0..members).map(|_| Arc::default()).collect(),
            lives: vec![0; members],
            evidence: 0,
            crashes: 0,
        }
    }

    /// Lives until `script` ends; then everything crashes at once, and what no disk holds is lost.
    pub(super) fn live(mut self, script: impl AsyncFnOnce(&mut World)) -> Self {
        let runner = match self.disk.take() {
            Some(disk) => Runner::from(disk),
            None => Runner::new(
                deterministic::Config::new()
                    .with_seed(self.seed)
                    .with_start_time(UNIX_EPOCH + Duration::from_secs(BEGIN_S))
                    .with_timeout(Some(TIMEOUT))
                    // Else the actors of a crashed member that wait for each other would end the simulation.
                    .with_catch_panics(true),
            ),
        };
        let (mut story, disk) = runner.start_and_recover(|context| async move {
            let mut world = World::open(context, self).await;
            script(&mut world).await;
            world.close()
        });
        story.disk = Some(disk);
        story
    }

    /// A hash over all that happened.
    pub(super) fn fingerprint(&self) -> String {
        self.disk.as_ref().map(|disk| disk.auditor().state()).unwrap_or_default()
    }
}

struct Node {
    task: Handle<()>,
    ended: Arc<AtomicBool>,
    marshal: Mailbox<Scheme, Standard<Block>>,
}

/// A running network.
pub(super) struct World {
    pub(super) context: Context,
    pub(super) story: Story,
    oracle: Oracle<Key, Context>,
    nodes: Vec<Option<Node>>,
    /// The handles of members that run.
    pub(super) chains: Arc<Mutex<Vec<Option<Chain>>>>,
    keys: Vec<Key>,
    links: BTreeSet<(usize, usize)>,
    /// Whether the load goes on.
    pub(super) loading: Arc<AtomicBool>,
}

impl World {
    async fn open(context: Context, story: Story) -> Self {
        let members = story.plan.members();
        let (network, oracle) = Network::<_, Key>::new(
            context.child("network"),
            simulated::Config {
                max_size: node::message_limit(),
                max_peers_per_set: NonZeroUsize::new(members).expect("a network has members"),
                disconnect_on_block: true,
                tracked_peer_sets: NZUsize!(2),
            },
        );
        network.start();
        let keys = (0..members).map(|index| private_key(index).public_key()).collect();
        let mut world = Self {
            context,
            story,
            oracle,
            nodes: (0..members).map(|_| None).collect(),
            chains: Arc::new(Mutex::new(vec![None; members])),
            keys,
            links: BTreeSet::new(),
            loading: Arc::default(),
        };
        world.heal().await;
        world
    }

    fn close(mut self) -> Story {
        for index in 0..self.nodes.len() {
            self.note(index);
        }
        self.story.crashes += 1;
        self.story
    }

    /// The engine's channels of a member.
    pub(super) async fn channels(
        &self,
        index: usize,
    ) -> Vec<(simulated::Sender<Key, Context>, simulated::Receiver<Key>)> {
        let control = self.oracle.control(self.keys[index].clone());
        let mut channels = Vec::new();
        for channel in 0..CHANNELS {
            channels.push(control.register(channel, QUOTA).await.expect("the network runs"));
        }
        channels
    }

    /// Starts a member from its storage.
    pub(super) async fn start(&mut self, index: usize) {
        assert!(self.nodes[index].is_none(), "member {index} runs already");
        let life = self.story.lives[index];
        self.story.lives[index] += 1;
        let config = Config {
            directory: PathBuf::new(),
            genesis: self.story.genesis.as_ref().clone(),
            me: number(index),
            consensus_secret: secret(index),
            listen: ([127, 0, 0, 1], 0).into(),
            peers: Vec::new(),
            pace: self.story.plan.pace,
        };
        let bodies = self.story.bodies[index].clone();
        let (ask, asks) = mpsc::channel(256);
        let (tip, tips) = watch::channel(Tip::unheard());
        let shared = Arc::new(Shared::new(bodies.clone()));
        let chain = Chain { asks: ask, tip: tips, shared: shared.clone() };
        let prefix = format!("member{index}");
        let parts = Parts { config, prefix, bodies, track: self.track(), asks, tip: Arc::new(tip), shared };
        let channels = self.channels(index).await;
        let (peers, blocker) = (self.oracle.manager(), self.oracle.control(self.keys[index].clone()));
        let observer = Observer(index, self.story.seen.clone());
        let (reply, marshal) = oneshot::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        let context = self.context.child("member").with_attribute("index", index).with_attribute("life", life);
        let task = context.spawn(move |context| async move {
            let (node, marshal) =
                node::start(context.child("node"), parts, peers, blocker, channels, Some(observer)).await;
            drop(reply.send(marshal));
            drop(node.await);
            over.store(true, Ordering::Relaxed);
        });
        let marshal = marshal.await.unwrap_or_else(|_| panic!("member {index} does not start"));
        self.nodes[index] = Some(Node { task, ended, marshal });
        self.chains.lock().expect("no panic while held")[index] = Some(chain);
    }

    pub(super) async fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.start(index).await;
        }
    }

    fn track(&self) -> Track {
        let (manager, keys) = (Mutex::new(self.oracle.manager()), self.keys.clone());
        Arc::new(move |epoch, set| {
            let (primary, secondary): (Vec<_>, Vec<_>) =
                keys.iter().cloned().partition(|key| set.position(key).is_some());
            let peers = TrackedPeers::new(Set::from_iter_dedup(primary), Set::from_iter_dedup(secondary));
            manager.lock().expect("no panic while held").track(epoch.get(), peers);
        })
    }

    /// Crashes a member; what it had not synced is lost.
    pub(super) fn crash(&mut self, index: usize) {
        self.note(index);
        self.chains.lock().expect("no panic while held")[index] = None;
        if let Some(node) = self.nodes[index].take() {
            node.task.abort();
            self.story.crashes += 1;
        }
    }

    fn note(&mut self, index: usize) {
        if let Some(chain) = self.chain(index) {
            let status = chain.status();
            self.story.evidence += status.evidence;
            if status.damaged > 0 {
                let wrong = format!("member {index} has {} damaged blocks", status.damaged);
                self.story.seen.lock().expect("no panic while held").wrong.push(wrong);
            }
        }
    }

    pub(super) fn chain(&self, index: usize) -> Option<Chain> {
        self.chains.lock().expect("no panic while held")[index].clone()
    }

    pub(super) fn marshal(&self, index: usize) -> Mailbox<Scheme, Standard<Block>> {
        self.nodes[index].as_ref().expect("the member runs").marshal.clone()
    }

    /// Milliseconds since 1970, in the simulation's time.
    pub(super) fn now_ms(&self) -> u64 {
        self.context.current().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
    }

    /// A number below `bound`, from the seed.
    pub(super) fn random(&mut self, bound: u64) -> u64 {
        self.context.next_u64() % bound
    }

    /// Members that run.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].is_some()).collect()
    }

    /// A member's height; zero when it does not run.
    pub(super) fn height(&self, index: usize) -> u64 {
        self.chain(index).map_or(0, |chain| chain.tip().height)
    }

    /// The highest height of all members.
    pub(super) fn top(&self) -> u64 {
        (0..self.nodes.len()).map(|index| self.height(index)).max().unwrap_or_default()
    }

    /// Waits in the simulation's time, and watches that no member ends by itself.
    pub(super) async fn pass(&self, time: Duration) {
        self.context.sleep(time).await;
        for (index, node) in self.nodes.iter().enumerate() {
            let ended = node.as_ref().is_some_and(|node| node.ended.load(Ordering::Relaxed));
            assert!(!ended, "member {index} ended by itself");
        }
    }

    /// Waits until it is so.
    pub(super) async fn until(&self, what: &str, within: Duration, so: impl Fn(&Self) -> bool) {
        let end = self.context.current() + within;
        while !so(self) {
            let heights: Vec<u64> = (0..self.nodes.len()).map(|index| self.height(index)).collect();
            assert!(self.context.current() < end, "not within {within:?}: {what}; heights {heights:?}");
            self.pass(STEP).await;
        }
    }

    /// Waits until every running member has `height`.
    pub(super) async fn reach(&self, height: u64, within: Duration) {
        let so = |world: &Self| world.running().into_iter().all(|index| world.height(index) >= height);
        self.until(&format!("height {height} everywhere"), within, so).await;
    }

    /// Cuts all links between members of different sides.
    pub(super) async fn split(&mut self, sides: &[&[usize]]) {
        let side = |index: usize| sides.iter().position(|side| side.contains(&index));
        for (from, to) in self.links.clone() {
            if side(from) != side(to) {
                let (sender, receiver) = (self.keys[from].clone(), self.keys[to].clone());
                self.oracle.remove_link(sender, receiver).await.expect("the link is there");
                self.links.remove(&(from, to));
            }
        }
    }

    /// Links whoever is not linked.
    pub(super) async fn heal(&mut self) {
        for from in 0..self.keys.len() {
            for to in (0..self.keys.len()).filter(|to| *to != from) {
                if self.links.insert((from, to)) {
                    let (sender, receiver) = (self.keys[from].clone(), self.keys[to].clone());
                    let link = self.story.plan.link.clone();
                    self.oracle.add_link(sender, receiver, link).await.expect("the link is not there");
                }
            }
        }
    }

    /// Who blocked whom.
    pub(super) async fn blocked(&self) -> usize {
        self.oracle.blocked().await.expect("the network runs").len()
    }
}
