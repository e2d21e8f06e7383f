//! Four members in one process: real chains over sockets, real stores and vaults, real sealing. Only the way between
//! them is in the test's hand, so that it can listen, hold back, and speak for a member that does not keep the rules.

mod cut_off;
mod hostile_holder;
mod hostile_reader;
mod records;

use crate::{
    CallFailed, Caller, Config, Founding, Inner, NewPerson, Parts, Records, Tasks, Transport, found, outbox::StrandName,
};
use chain::{Chain, Pace, Running};
use fhir::json::{Value, object};
use futures::future::BoxFuture;
use identity::{Purpose, Role};
use std::{
    collections::{BTreeMap, HashMap},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};
use store::{Backend, Sqlite};
use wire::{
    genesis::{Genesis, Kind, Member, Parameters},
    keys::{Secret, Seed},
    message::peer::{Call, Method},
    seal::Opener,
    sign::{Signature, Signer},
};

/// North holds the record and is the patient's home, South reads; the other two are there for the quorum of three.
const NORTH: u32 = 1;
const SOUTH: u32 = 2;
const CLINIC: u32 = 3;
const MEMBERS: u32 = 4;
/// Bound on whatever must happen.
const SOON: Duration = Duration::from_secs(40);

/// What the test does with a call before it arrives: `None` lets it pass.
type Tap = Arc<dyn Fn(Call, Method) -> BoxFuture<'static, Option<CallFailed>> + Send + Sync>;

#[derive(Clone, Default)]
struct Between {
    members: Arc<Mutex<HashMap<u32, Records>>>,
    tap: Arc<Mutex<Option<Tap>>>,
    seen: Arc<Mutex<Vec<(u32, u32, Method)>>>,
}

impl Between {
    fn tap(&self, tap: impl Fn(Call, Method) -> BoxFuture<'static, Option<CallFailed>> + Send + Sync + 'static) {
        *self.tap.lock().unwrap() = Some(Arc::new(tap));
    }

    /// How many calls of this kind arrived.
    fn seen(&self, from: u32, to: u32, method: Method) -> usize {
        self.seen.lock().unwrap().iter().filter(|call| **call == (from, to, method)).count()
    }
}

impl Transport for Between {
    fn call(
        &self,
        call: Call,
        method: Method,
        body: Vec<u8>,
        signature: Signature,
    ) -> BoxFuture<'_, Result<(Vec<u8>, Signature), CallFailed>> {
        Box::pin(async move {
            let tap = self.tap.lock().unwrap().clone();
            if let Some(tap) = tap
                && let Some(failed) = tap(call, method).await
            {
                return Err(failed);
            }
            let to = self.members.lock().unwrap().get(&call.to).cloned();
            let to = to.ok_or_else(|| CallFailed { reason: "nobody is there".into() })?;
            self.seen.lock().unwrap().push((call.from, call.to, method));
            to.called(call, method, body, signature).await.map_err(|e| CallFailed { reason: e.to_string() })
        })
    }
}

struct Node {
    records: Records,
    operator: Caller,
    chain: Chain,
    running: Option<Running>,
    tasks: Tasks,
    config: chain::Config,
}

impl Node {
    fn inner(&self) -> &Inner {
        &self.records.0
    }
}

struct Network {
    nodes: BTreeMap<u32, Node>,
    between: Between,
    directory: tempfile::TempDir,
}

/// A patient with a wallet at North and records at North.
struct Patient {
    id: String,
    caller: Caller,
}

impl Network {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listeners: Vec<_> = (0..MEMBERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: BTreeMap<u32, SocketAddr> =
            (1..).zip(listeners.iter().map(|l| l.local_addr().unwrap())).collect();
        drop(listeners);
        let secrets: BTreeMap<u32, [Secret; 3]> =
            (1..=MEMBERS).map(|n| (n, [Secret::generate(), Secret::generate(), Secret::generate()])).collect();
        let members = secrets.iter().map(|(number, [seed, consensus, hpke])| Member {
            number: *number,
            name: format!("m{number}"),
            title: format!("Member {number}"),
            kind: Kind::Hospital,
            identity: Seed::new(seed.clone()).identity().public(),
            consensus: Signer::from_seed(consensus.expose()).public(),
            hpke: Opener::from_seed(hpke.clone()).public(),
            validator: true,
        });
        let genesis = Genesis {
            format: 1,
            network: "test".into(),
            time_ms: 0,
            nonce: wire::random(),
            parameters: Parameters { interval_s: 1, ..Parameters::default() },
            members: members.collect(),
        };
        let between = Between::default();
        let mut nodes = BTreeMap::new();
        for (number, [seed, consensus, hpke]) in secrets {
            let home = directory.path().join(format!("m{number}"));
            std::fs::create_dir_all(&home).unwrap();
            let seed = Seed::new(seed);
            let store: Arc<dyn Backend> = Arc::new(Sqlite::open(&home.join("suture.db")).unwrap());
            let founding = Founding { genesis: &genesis, seed: &seed, hpke: &hpke, operator: "operator" };
            let token = found(store.clone(), &founding).await.unwrap();
            let config = chain::Config {
                directory: home.join("chain"),
                genesis: genesis.clone(),
                me: number,
                consensus_secret: consensus,
                listen: addresses[&number],
                peers: addresses.iter().map(|(n, a)| (*n, *a)).collect(),
                pace: Pace {
                    block: Duration::from_millis(50),
                    idle: Duration::from_millis(300),
                    leader: Duration::from_secs(1),
                },
            };
            let (chain, running) = chain::start(config.clone()).unwrap();
            let base = format!("http://m{number}/fhir");
            let fhir_bases = (1..=MEMBERS).map(|n| (n, format!("http://m{n}/fhir"))).collect();
            let of_records = Config { me: number, genesis: genesis.clone(), seed, fhir_base: base, fhir_bases };
            let vault = vault::Vault::open(&home.join("vault")).unwrap();
            let parts = Parts { store, vault, chain: chain.clone(), transport: Arc::new(between.clone()) };
            let (records, tasks) = Records::start(of_records, parts).await.unwrap();
            between.members.lock().unwrap().insert(number, records.clone());
            let operator = records.authenticate(&token).await.unwrap();
            nodes.insert(number, Node { records, operator, chain, running: Some(running), tasks, config });
        }
        Self { nodes, between, directory }
    }

    fn node(&self, number: u32) -> &Node {
        &self.nodes[&number]
    }

    /// Enrols a new patient at North with `count` observations.
    async fn patient(&self, count: usize) -> Patient {
        let north = self.node(NORTH);
        let patient = object([("resourceType", "Patient".into()), ("active", true.into())]);
        let written = north.records.create(&north.operator, "Patient", patient, None).await.unwrap();
        let id = written.stored.id;
        for number in 0..count {
            self.observe(NORTH, &id, number).await;
        }
        north.records.enrol(&north.operator, &id, None).await.unwrap();
        north.records.flush().await.unwrap();
        let person = NewPerson { name: "a patient".into(), role: Role::Patient { patient: id.clone() } };
        let (_, token) = north.records.add_person(&north.operator, person).await.unwrap();
        Patient { id, caller: north.records.authenticate(&token).await.unwrap() }
    }

    async fn observe(&self, at: u32, patient: &str, number: usize) {
        let node = self.node(at);
        let concept = object([("text", format!("observation {number}").into())]);
        let observation = object([
            ("resourceType", "Observation".into()),
            ("status", "final".into()),
            ("code", concept),
            ("subject", object([("reference", format!("Patient/{patient}").into())])),
        ]);
        node.records.create(&node.operator, "Observation", observation, None).await.unwrap();
    }

    /// The patient grants; gives the Consent's id and resource.
    async fn grant(&self, patient: &Patient, to: u32, purposes: &[&str]) -> (String, Value) {
        let coding = |code: &str| object([("system", Purpose::system().into()), ("code", code.into())]);
        let concept = |code: &str| object([("coding", Value::Array(vec![object([("code", code.into())])]))]);
        let actor = object([
            ("role", concept("IRCP")),
            ("reference", object([("reference", format!("Organization/m{to}").into())])),
        ]);
        let mut provision = object([("type", "permit".into()), ("actor", Value::Array(vec![actor]))]);
        if !purposes.is_empty() {
            provision.set("purpose", Value::Array(purposes.iter().map(|p| coding(p)).collect()));
        }
        let consent = object([
            ("resourceType", "Consent".into()),
            ("status", "active".into()),
            ("scope", concept("patient-privacy")),
            ("category", Value::Array(vec![concept("IDSCL")])),
            ("patient", object([("reference", format!("Patient/{}", patient.id).into())])),
            ("policyRule", concept("OPTIN")),
            ("provision", provision),
        ]);
        let north = self.node(NORTH);
        let written = north.records.create(&patient.caller, "Consent", consent, None).await.unwrap();
        assert_eq!(written.notice, None, "the grant is final");
        (written.stored.id.clone(), fhir::json::parse(&written.stored.content.unwrap(), Default::default()).unwrap())
    }

    async fn revoke(&self, patient: &Patient, (id, mut consent): (String, Value)) {
        consent.set("status", "inactive".into());
        let north = self.node(NORTH);
        let written = north.records.update(&patient.caller, "Consent", &id, consent, None).await.unwrap();
        assert_eq!(written.notice, None, "the revocation is final");
    }

    /// The handle that a grant made at South.
    async fn handle(&self, at: u32) -> String {
        let node = self.node(at);
        let search = crate::Search { resource_type: "Consent".into(), params: vec![], after: None, limit: 50 };
        let found = node.records.search(&node.operator, search).await.unwrap();
        let newest = found.resources.into_iter().max_by_key(|stored| stored.updated_ms).unwrap();
        let consent = fhir::json::parse(&newest.content.unwrap(), Default::default()).unwrap();
        let patient = consent.get("patient").and_then(|p| p.text("reference")).unwrap().to_owned();
        patient.trim_start_matches("Patient/").to_owned()
    }

    /// Entries of the patient's access strand at North that are on North's ledger.
    async fn accesses(&self, patient: &Patient) -> usize {
        let inner = self.node(NORTH).inner();
        let Some(strand) = inner.strand(&StrandName::accesses(&patient.id)).await.unwrap() else { return 0 };
        let mut count = 0;
        for index in 1..strand.next {
            let place = wire::strand::entry_key(NORTH, &strand.key.tag(index));
            count += usize::from(inner.entry(&place).await.unwrap().is_some());
        }
        count
    }

    /// Waits until the members' ledgers have grown by this many blocks.
    async fn blocks(&self, count: u64) {
        let mut tips = self.node(SOUTH).chain.tips();
        let target = tips.borrow().height + count;
        within("more blocks", tips.wait_for(|tip| tip.height >= target)).await.unwrap();
    }

    async fn stop(self) {
        self.between.members.lock().unwrap().clear();
        for (_, node) in self.nodes {
            node.tasks.stop().await;
            if let Some(running) = node.running {
                tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
            }
        }
    }
}

/// The result of something that must happen soon.
async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, happens).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {} seconds", SOON.as_secs()),
    }
}

/// Texts of an answer's OperationOutcomes, and the number of its matches.
fn told(node: &Node, set: &crate::ResultSet) -> (Vec<String>, usize) {
    let page = node.records.result_page(&node.operator, &set.id, 0, 1_000).unwrap();
    let outcomes = page.entries.iter().filter(|e| e.mode == "outcome");
    let texts = outcomes.map(|e| String::from_utf8(e.content.to_vec()).unwrap()).collect();
    (texts, page.entries.iter().filter(|e| e.mode == "match").count())
}
