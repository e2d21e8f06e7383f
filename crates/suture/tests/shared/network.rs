//! A demo's network as a stranger meets it: `suture demo --stay` as a process, and what `network.json` says.

use crate::process::{Place, Running, SOON, SUTURE, command_line, signal};
use lab::client::{Answer, Client, Http, http};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    process::Command,
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, MutexGuard};

/// A demo is ready by then.
pub const READY: Duration = Duration::from_secs(60);

/// Networks share the machine: tests of one program have theirs one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Asks again until there is an answer.
pub async fn until<T, F>(what: &str, within: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + within;
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", within.as_secs());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// A network that stays.
pub struct Network {
    pub manifest: Value,
    demo: Running,
    http: Http,
    pub place: Place,
    _turn: MutexGuard<'static, ()>,
}

/// A member, with its operator.
pub struct Member {
    pub name: String,
    pub title: String,
    pub fhir: String,
    pub web: String,
    pub dir: String,
    pub pid: u32,
    pub operator: Client,
}

/// Somebody with a token.
pub struct Person {
    pub name: String,
    pub home: String,
    pub client: Client,
    /// Member → id of their Patient there.
    pub ids: BTreeMap<String, String>,
}

impl Network {
    /// Starts `suture demo --stay` with these arguments more, and waits for `network.json`.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::start_in(Place::new(), |_| Command::new(SUTURE), arguments).await
    }

    /// The same in a place, by a command that takes the program's arguments.
    pub async fn start_in(place: Place, program: impl Fn(&Place) -> Command, arguments: &[&str]) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let mut command = program(&place);
        command.args(["demo", "--stay", "--dir"]).arg(place.network()).args(arguments);
        let mut demo = Running::start(&mut command, place.beside("demo.log"));
        let (path, deadline) = (place.network().join("network.json"), Instant::now() + READY);
        while !path.exists() {
            let said = || format!("demo.log:\n{}", fs::read_to_string(place.beside("demo.log")).unwrap_or_default());
            assert_eq!(demo.ended(), None, "the demo ended; {}", said());
            assert!(Instant::now() < deadline, "no network.json within {} s; {}", READY.as_secs(), said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // INVARIANT: it appears whole, so that one read is enough.
        let manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        Self { manifest, demo, http: http().unwrap(), place, _turn: turn }
    }

    pub fn members(&self) -> Vec<Member> {
        let text = |m: &Value, name: &str| m[name].as_str().unwrap_or_else(|| panic!("{name} in {m}")).to_owned();
        let member = |m: &Value| Member {
            name: text(m, "name"),
            title: text(m, "title"),
            fhir: text(m, "fhir"),
            web: text(m, "web"),
            dir: text(m, "dir"),
            pid: m["pid"].as_u64().unwrap().try_into().unwrap(),
            operator: self.client(&text(m, "operator_token")),
        };
        self.manifest["members"].as_array().unwrap().iter().map(member).collect()
    }

    pub fn member(&self, name: &str) -> Member {
        self.members().into_iter().find(|m| m.name == name).unwrap_or_else(|| panic!("there is no member {name}"))
    }

    pub fn client(&self, token: &str) -> Client {
        Client::new(&self.http, token)
    }

    /// The clinician of a member.
    pub fn clinician(&self, member: &str) -> Client {
        let people = self.manifest["people"].as_array().unwrap();
        let person = people.iter().find(|p| p["role"] == "clinician" && p["member"] == member).unwrap();
        self.client(person["token"].as_str().unwrap())
    }

    /// Patients with records at all of the first and at none of the second.
    pub fn patients(&self, at: &[&str], not_at: &[&str]) -> Vec<Person> {
        let people = self.manifest["people"].as_array().unwrap().iter().filter(|p| p["role"] == "patient");
        let people = people.map(|p| Person {
            name: p["name"].as_str().unwrap().to_owned(),
            home: p["member"].as_str().unwrap().to_owned(),
            client: self.client(p["token"].as_str().unwrap()),
            ids: serde_json::from_value(p["patient"].clone()).unwrap(),
        });
        let fits =
            |p: &Person| at.iter().all(|m| p.ids.contains_key(*m)) && !not_at.iter().any(|m| p.ids.contains_key(*m));
        let found: Vec<Person> = people.filter(fits).collect();
        assert!(!found.is_empty(), "nobody has records at {at:?} and none at {not_at:?}");
        found
    }

    /// Whether the demo still stays.
    pub fn stays(&mut self) -> bool {
        self.demo.ended().is_none()
    }

    /// Ctrl-C: ends well, and nobody is left. Gives its place.
    pub async fn stop(mut self) -> Place {
        let demo = self.place.processes().into_iter();
        let mut demo =
            demo.filter(|pid| command_line(*pid).is_some_and(|l| l.starts_with(&format!("{SUTURE}\0demo\0"))));
        signal(demo.next().expect("the demo stays"), Signal::INT);
        let status = self.demo.end(SOON).await;
        assert!(status.success(), "the demo ended with {status}:\n{}", self.demo.said());
        // One that somebody else started has let go of its directory, and may still be on its way out.
        until("no process is left behind", SOON, || async { self.place.processes().is_empty().then_some(()) }).await;
        self.place
    }
}

/// The answer's JSON.
pub fn json(answer: &Answer) -> Value {
    let text = String::from_utf8_lossy(&answer.body);
    serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("HTTP {}, not JSON ({e}): {text}", answer.status))
}

/// Asks and demands this status; gives the answer.
pub async fn ask(client: &Client, status: u16, what: (&str, &str), body: Option<Value>) -> Answer {
    ask_with(client, status, what, &[], body).await
}

/// Asks with headers.
pub async fn ask_with(
    client: &Client,
    status: u16,
    (method, url): (&str, &str),
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let octets = body.map(|body| body.to_string().into_bytes());
    let answer = client.send(method, url, headers, octets).await.unwrap_or_else(|e| panic!("{method} {url}: {e:#}"));
    let answer = answer.expect(status, &format!("{method} {url}")).unwrap_or_else(|e| panic!("{e:#}"));
    if status >= 400 {
        let outcome = json(&answer);
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{method} {url}: {outcome}");
        assert!(outcome["issue"][0]["diagnostics"].is_string(), "{method} {url}: {outcome}");
    }
    answer
}
