//! The demo's network: its members' processes, its people, and `network.json`.

use crate::found::found;
use anyhow::{Context as _, Result};
use fhir::json::{Value, object};
use lab::{
    client::{Client, Http, http},
    network::{MemberPlan, plan},
    process::MemberProcess,
    stories::StoryPatient,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A running network.
pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) genesis: PathBuf,
    pub(crate) members: Vec<Running>,
    pub(crate) http: Http,
    pub(crate) people: Vec<Person>,
    /// When its members were ready.
    pub(crate) began: Instant,
}

/// A member and its operator.
pub(crate) struct Running {
    pub(crate) plan: MemberPlan,
    pub(crate) process: MemberProcess,
    pub(crate) token: String,
    pub(crate) operator: Client,
}

/// Somebody with a token.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) member: String,
    pub(crate) token: String,
    /// Member → logical id of their Patient.
    pub(crate) patient: BTreeMap<String, String>,
}

impl World {
    /// Founds the network, starts its members, waits until all are ready.
    pub(crate) async fn start(root: &Path, count: usize) -> Result<Self> {
        let plans = plan(count, root)?;
        let founded = found(&plans, root).await?;
        let executable = std::env::current_exe()?;
        let http = http()?;
        let mut members = Vec::new();
        for (plan, token) in plans.into_iter().zip(founded.operator_tokens) {
            let process = MemberProcess::start(&executable, &plan)?;
            let operator = Client::new(&http, &token);
            members.push(Running { plan, process, token, operator });
        }
        for member in &mut members {
            member.process.ready(&http).await?;
        }
        Ok(Self {
            root: root.to_owned(),
            genesis: founded.genesis,
            members,
            http,
            people: Vec::new(),
            began: Instant::now(),
        })
    }

    pub(crate) fn member(&self, name: &str) -> Result<&Running> {
        self.members.iter().find(|m| m.plan.name == name).with_context(|| format!("there is no member {name}"))
    }

    pub(crate) fn person(&self, name: &str) -> Result<&Person> {
        self.people.iter().find(|p| p.name == name).with_context(|| format!("there is no {name}"))
    }

    pub(crate) fn client(&self, person: &Person) -> Client {
        Client::new(&self.http, &person.token)
    }

    /// Makes a person at a member.
    pub(crate) async fn add_person(
        &self,
        member: &str,
        name: &str,
        role: &'static str,
        patient: Option<&str>,
    ) -> Result<String> {
        let at = self.member(member)?;
        let mut wish = object([("name", name.into()), ("role", role.into())]);
        if let Some(patient) = patient {
            wish.set("patient", patient.into());
        }
        let answer = at.operator.post(&format!("{}/admin/people", at.plan.web_base()), &wish).await?;
        let answer = answer.expect(201, "adding a person")?.json()?;
        Ok(answer.text("token").context("a new person has a token")?.to_owned())
    }

    /// Gives every member what all of them need: organisations, practitioners and the like.
    pub(crate) async fn load_shared(&self, bundle: &Value) -> Result<usize> {
        let posts = self.members.iter().map(|at| async { at.operator.post(&at.plan.fhir(), bundle).await });
        let mut resources = 0;
        for answer in futures::future::join_all(posts).await {
            let answer = answer?.expect(200, "loading what all members share")?.json()?;
            for entry in answer.get("entry").and_then(Value::as_array).unwrap_or_default() {
                let status = entry.get("response").and_then(|r| r.text("status")).unwrap_or_default();
                anyhow::ensure!(status.starts_with('2'), "an entry was not taken: {status}");
                resources += 1;
            }
        }
        Ok(resources)
    }

    /// Loads a patient's parts; gives the id of the Patient at each member.
    pub(crate) async fn load(&self, patient: &StoryPatient) -> Result<(BTreeMap<String, String>, usize)> {
        let (mut ids, mut resources) = (BTreeMap::new(), 0);
        for (member, bundle) in &patient.parts {
            let at = self.member(member)?;
            let answer = at.operator.post(&at.plan.fhir(), bundle).await?.expect(200, "loading a story")?.json()?;
            let entries = answer.get("entry").and_then(Value::as_array).unwrap_or_default();
            resources += entries.len();
            let patient =
                entries.iter().filter_map(|e| e.get("resource")).find(|r| r.text("resourceType") == Some("Patient"));
            let id = patient.and_then(|p| p.text("id")).context("the transaction made a Patient")?;
            ids.insert(member.clone(), id.to_owned());
        }
        Ok((ids, resources))
    }

    /// Enrols a patient at home and takes each other holder's one-time code there.
    pub(crate) async fn enrol(&self, home: &str, ids: &BTreeMap<String, String>) -> Result<()> {
        let at = self.member(home)?;
        let url = format!("{}/Patient/{}/$enrol", at.plan.fhir(), ids.get(home).context("the home has a Patient")?);
        at.operator.send("POST", &url, &[], None).await?.expect(200, "enrolling at home")?;
        for (member, id) in ids.iter().filter(|(member, _)| *member != home) {
            let holder = self.member(member)?;
            let code = format!("{}/Patient/{id}/$enrolment-code", holder.plan.fhir());
            let answer =
                holder.operator.send("POST", &code, &[], None).await?.expect(200, "asking for a code")?.json()?;
            let parameters = answer.get("parameter").and_then(Value::as_array).unwrap_or_default();
            let code = parameters.first().and_then(|p| p.text("valueString")).context("the answer has a code")?;
            let parameter = |name: &str, value: &str| object([("name", name.into()), ("valueString", value.into())]);
            let ask = object([
                ("resourceType", "Parameters".into()),
                ("parameter", Value::Array(vec![parameter("member", member), parameter("code", code)])),
            ]);
            at.operator.post(&url, &ask).await?.expect(200, "enrolling a holder")?;
        }
        Ok(())
    }

    /// Waits until nothing is left in any outbox; gives each member's status.
    pub(crate) async fn settled(&self) -> Result<Vec<Value>> {
        for _ in 0..600 {
            let mut all = Vec::new();
            for member in &self.members {
                let url = format!("{}/admin/status", member.plan.web_base());
                all.push(member.operator.get(&url).await?.expect(200, "asking for the status")?.json()?);
            }
            if all.iter().all(|status| number(status, "outbox") == 0) {
                return Ok(all);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("not everything was finalized within a minute")
    }

    /// `network.json`: written beside, then renamed, readable by its owner only.
    pub(crate) fn write_manifest(&self) -> Result<PathBuf> {
        let members: Vec<_> = self
            .members
            .iter()
            .map(|m| {
                json!({
                    "name": m.plan.name, "title": m.plan.title, "kind": m.plan.kind, "pid": m.process.pid(),
                    "dir": m.plan.dir, "fhir": m.plan.fhir(), "web": m.plan.web_base(), "operator_token": m.token,
                })
            })
            .collect();
        let people: Vec<_> = self
            .people
            .iter()
            .map(
                |p| json!({"name": p.name, "role": p.role, "member": p.member, "token": p.token, "patient": p.patient}),
            )
            .collect();
        let text =
            serde_json::to_string_pretty(&json!({"genesis": self.genesis, "members": members, "people": people}))?;
        let (new, path) = (self.root.join("network.json.new"), self.root.join("network.json"));
        crate::config::write_private(&new, text.as_bytes())?;
        std::fs::rename(&new, &path)?;
        Ok(path)
    }

    /// Stops all members cleanly, those too that somebody brought back after they had died.
    pub(crate) async fn stop(self) -> Result<()> {
        let stops = self.members.into_iter().map(|member| async move {
            let stopped = member.process.stop().await;
            MemberProcess::stop_successor(&member.plan.dir).await.and(stopped)
        });
        let failed = futures::future::join_all(stops).await.into_iter().filter_map(Result::err);
        let failed: Vec<String> = failed.map(|error| format!("{error:#}")).collect();
        anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
        Ok(())
    }
}

/// A number of a JSON object.
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    match value.get(name) {
        Some(Value::Number(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}
