//! The demo's six steps.

use super::{
    DemoArgs,
    world::{Person, World, number},
};
use anyhow::{Context as _, Result, bail, ensure};
use fhir::json::{Value, object};
use futures::StreamExt as _;
use lab::{
    client::link,
    data,
    stories::{self, StoryPatient},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};
use wire::{Format as _, proof::Document};

/// Work that takes longer says how far it is this often.
const TELL_EVERY: Duration = Duration::from_secs(3);
/// Patients that are enrolled at the same time.
const ENROL_AT_ONCE: usize = 8;

fn heading(number: u8, text: &str) {
    println!("\n{number}. {text}");
}

/// Runs the demo; members are stopped whatever happens.
pub(super) async fn all(args: DemoArgs) -> Result<ExitCode> {
    let began = Instant::now();
    let root = match &args.dir {
        Some(dir) => std::path::absolute(dir)?,
        None => std::env::temp_dir().join(format!("suture-demo-{}", std::process::id())),
    };
    ensure!(!root.join("genesis").exists(), "{} has a network already: choose another --dir", root.display());
    println!("Suture: one patient, many hospitals, one history. Everything lies in {}", root.display());
    heading(1, &format!("{} members as {} processes", args.members, args.members));
    let mut world = World::start(&root, usize::from(args.members)).await?;
    let told = tell(&args, &mut world).await;
    let stopped = world.stop().await;
    match told {
        // Members may have died, or been brought back, while somebody tried things: that is told, and is no failure.
        Ok(()) if args.stay => {
            match stopped {
                Ok(()) => println!("\nAll members stopped cleanly."),
                Err(error) => println!("\nStopped. Not all of it was this demo's doing: {error:#}"),
            }
            Ok(ExitCode::SUCCESS)
        }
        Ok(()) => {
            stopped?;
            println!("\nAll checks held; all members stopped cleanly. {:.0} s in all.", began.elapsed().as_secs_f64());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("\n✗ {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn tell(args: &DemoArgs, world: &mut World) -> Result<()> {
    for member in &world.members {
        let plan = &member.plan;
        println!("   {:<7} {:<22} {:<14} {}", plan.name, plan.title, plan.kind, plan.web_base());
    }
    heading(2, "Patients' stories, each at several members");
    load(args, world).await?;
    heading(3, "Wallets, enrolment, and everything anchored");
    anchor(world).await?;
    let manifest = world.write_manifest()?;
    if args.stay {
        println!("\nReady. Tokens and addresses are in {}; Ctrl-C stops all members.", manifest.display());
        told_to_stop().await;
        println!("Stopping.");
        return Ok(());
    }
    // Somebody with records at South and at as many others as there are; else somebody whom South does not know yet.
    let patients = world.people.iter().filter(|p| p.role == "patient").rev();
    let patient = patients.max_by_key(|p| (p.patient.contains_key("south"), p.patient.len()));
    let patient = patient.context("there is a patient")?.name.clone();
    heading(4, &format!("{patient} allows South Hospital to read"));
    let files = read(world, &patient).await?;
    heading(5, &format!("{patient} sees who read"));
    list(world, &patient).await?;
    heading(6, "In short");
    println!(
        "   Five organisations that do not open their systems to one another gave one complete record,\n   \
         and each of them had to leave a finalized trace before a key left it. Nobody holds it all: no\n   \
         centre, no health data on the ledger. The proof in the folder convinces anybody who has the\n   \
         genesis, today or in years, without asking any of the members."
    );
    let program = std::env::current_exe()?;
    let (program, root) = (program.display(), world.root.display());
    println!("\n   left behind:      {root}");
    println!("   check it again:   {program} proof check {} --genesis {root}/genesis", files.display());
    println!("   without this program, from the repository: python3 docs/verify_proof.py, with the same two files");
    println!("   try it yourself:  {program} demo --stay --dir {}", std::env::temp_dir().join("suture").display());
    Ok(())
}

async fn load(args: &DemoArgs, world: &mut World) -> Result<()> {
    for (member, name) in [("north", "Dr. Amara Nwosu"), ("south", "Dr. Mateo Rivera"), ("clinic", "Dr. Priya Raman")] {
        let token = world.add_person(member, name, "clinician", None).await?;
        let (name, member) = (name.to_owned(), member.to_owned());
        world.people.push(Person { name, role: "clinician", member, token, patient: BTreeMap::new() });
    }
    let mut loaded = Loaded { began: Instant::now(), told: Instant::now(), resources: 0, stories: BTreeMap::new() };
    let names: Vec<String> = world.members.iter().map(|m| m.plan.name.clone()).collect();
    match &args.data {
        None => {
            for patient in stories::people(usize::from(args.patients.unwrap_or(12)), args.seed, &names)? {
                loaded.patient(world, patient).await?;
            }
        }
        Some(folder) => {
            let mut left = args.patients.unwrap_or(u16::MAX);
            for file in data::files(folder)? {
                match data::read(&file, &names).with_context(|| format!("{} is not taken", file.display()))? {
                    data::Bundle::Shared(bundle) => loaded.resources += world.load_shared(&bundle).await?,
                    data::Bundle::Patient(patient) if left > 0 => {
                        left -= 1;
                        loaded.patient(world, *patient).await?;
                    }
                    data::Bundle::Patient(_) => {}
                }
            }
            ensure!(!loaded.stories.is_empty(), "{} has no patient's bundle", folder.display());
        }
    }
    let stories: Vec<String> = loaded.stories.iter().map(|(story, count)| format!("{story} × {count}")).collect();
    let (count, took) = (loaded.stories.values().sum::<usize>(), loaded.began.elapsed().as_secs_f64());
    println!(
        "   {count} patients ({}): {} resources in {took:.1} s, {:.0}/s",
        stories.join(", "),
        loaded.resources,
        loaded.resources as f64 / took
    );
    Ok(())
}

/// What was loaded so far.
struct Loaded {
    began: Instant,
    told: Instant,
    resources: usize,
    stories: BTreeMap<&'static str, usize>,
}

impl Loaded {
    async fn patient(&mut self, world: &mut World, mut patient: StoryPatient) -> Result<()> {
        let (ids, count) = world.load(&patient).await.with_context(|| format!("loading {}", patient.name))?;
        self.resources += count;
        *self.stories.entry(patient.story).or_insert(0) += 1;
        let (mut name, mut number) = (patient.name.clone(), 1);
        while world.people.iter().any(|p| p.name == patient.name) {
            number += 1;
            patient.name = format!("{name} {number}");
        }
        name = patient.name;
        let home = ids.get(&patient.home).context("the home has a Patient")?;
        let token = world.add_person(&patient.home, &name, "patient", Some(home)).await?;
        world.people.push(Person { name, role: "patient", member: patient.home, token, patient: ids });
        if self.told.elapsed() > TELL_EVERY {
            self.told = Instant::now();
            println!("   … {} patients, {} resources", self.stories.values().sum::<usize>(), self.resources);
        }
        Ok(())
    }
}

async fn anchor(world: &World) -> Result<()> {
    let began = Instant::now();
    let patients: Vec<&Person> = world.people.iter().filter(|p| p.role == "patient").collect();
    let (all, mut done, mut told) = (patients.len(), 0, Instant::now());
    let enrolments = patients.into_iter().map(|person| world.enrol(&person.member, &person.patient));
    let mut enrolments = futures::stream::iter(enrolments).buffer_unordered(ENROL_AT_ONCE);
    while let Some(enrolled) = enrolments.next().await {
        enrolled?;
        done += 1;
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            println!("   … {done} of {all} wallets");
        }
    }
    println!("   {all} wallets, each holder's strand pinned, in {:.1} s", began.elapsed().as_secs_f64());
    let statuses = world.settled().await?;
    let (mut pages, mut versions) = (0, 0);
    println!(
        "   {:<8} {:>7} {:>16} {:>9} {:>24}",
        "member", "pages", "record versions", "batches", "finality p50 / p99 ms"
    );
    for status in &statuses {
        let finality = status.get("finality_ms").cloned().unwrap_or(Value::Null);
        pages += number(status, "pages");
        versions += number(status, "record_versions");
        println!(
            "   {:<8} {:>7} {:>16} {:>9} {:>16} / {}",
            status.text("member").unwrap_or_default(),
            number(status, "pages"),
            number(status, "record_versions"),
            number(status, "batches"),
            number(&finality, "p50"),
            number(&finality, "p99")
        );
    }
    ensure!(versions > 0 && pages > 0, "nothing was finalized");
    let took = world.began.elapsed().as_secs_f64();
    println!(
        "   {versions} record versions on {pages} pages finalized: {:.0} record versions/s since the network began,\n   \
         batches each second (a demo's interval; 600 s is a network's default)",
        versions as f64 / took
    );
    Ok(())
}

/// Step 4; gives the proof's file.
async fn read(world: &World, name: &str) -> Result<PathBuf> {
    let person = world.person(name)?;
    let (home, south) = (world.member(&person.member)?, world.member("south")?);
    let (patient, clinician) = (world.client(person), world.client(world.person("Dr. Mateo Rivera")?));
    let everything = |id: &str| format!("{}/Patient/{id}/$everything?scope=network&_count=200", south.plan.fhir());
    match person.patient.get("south") {
        Some(at_south) => {
            let refused = clinician.get(&everything(at_south)).await?.expect(403, "reading without a grant")?.json()?;
            ensure!(
                refused.text("resourceType") == Some("OperationOutcome"),
                "a refusal is an OperationOutcome and nothing else"
            );
            println!("   without a grant: 403, and no part of the record");
        }
        None => println!("   South Hospital has no Patient of this name yet"),
    }

    let found = patient.get(&format!("{}/Organization?name:exact=South%20Hospital", home.plan.fhir())).await?;
    let found = patient.entries(found).await?;
    ensure!(found.len() == 1, "each member has exactly one Organization for each member");
    let organization = found[0].get("resource").and_then(|r| r.text("id")).context("the Organization has an id")?;
    let consent = consent(&person.patient[&person.member], organization);
    let began = Instant::now();
    patient.post(&format!("{}/Consent", home.plan.fhir()), &consent).await?.expect(201, "granting")?;
    println!("   granted: a Consent at {}, final after {} ms", home.plan.title, began.elapsed().as_millis());
    let url = match person.patient.get("south") {
        Some(at_south) => everything(at_south),
        // The grant made a handle: the copy of the Consent refers to it.
        None => {
            let copies = clinician.get(&format!("{}/Consent", south.plan.fhir())).await?;
            let copies = clinician.entries(copies).await?;
            let patient = copies.first().and_then(|e| e.get("resource")?.get("patient")?.text("reference"));
            let patient = patient.context("South has a copy of the Consent")?;
            everything(patient.trim_start_matches("Patient/"))
        }
    };

    let began = Instant::now();
    let first = clinician.get(&url).await?.expect(200, "reading across members")?;
    let took = began.elapsed();
    let proof = link(&first, "proof").context("the answer links to its proof")?;
    let entries = clinician.entries(first).await?;
    let document = clinician.get(&proof).await?.expect(200, "fetching the proof")?.body;
    let file = world.root.join("record.proof");
    std::fs::write(&file, &document)?;
    compare(world, person, &entries).await?;
    println!("   read from all holders in {} ms; the proof ({} kB) says:", took.as_millis(), document.len() / 1_024);
    let lines = check(world, &file)?;
    for member in person.patient.keys() {
        let title = &world.member(member)?.plan.title;
        ensure!(
            lines.iter().any(|l| l.starts_with(&format!("{title}: complete: pages 0.."))),
            "the proof does not say that {title} is complete"
        );
    }
    damage(world, &document)?;
    Ok(file)
}

/// The answer is the union of the holders' own, octet for octet.
async fn compare(world: &World, person: &Person, entries: &[Value]) -> Result<()> {
    let mut read: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut provenances = BTreeSet::new();
    for entry in entries {
        let resource = entry.get("resource").context("an entry has a resource")?;
        match (entry.get("search").and_then(|s| s.text("mode")), resource.text("resourceType")) {
            (Some("match"), _) => {
                read.insert(entry.text("fullUrl").context("an entry has a fullUrl")?.to_owned(), resource.write());
            }
            (Some("include"), Some("Provenance")) => {
                let agents = resource.get("agent").and_then(Value::as_array).unwrap_or_default();
                let who = agents.first().and_then(|a| a.get("who")).and_then(|w| w.text("display"));
                provenances.insert(who.unwrap_or_default().to_owned());
            }
            (Some("outcome"), Some("OperationOutcome")) => {
                let issues = resource.get("issue").and_then(Value::as_array).unwrap_or_default();
                bail!(
                    "the answer is not complete: {}",
                    issues.iter().filter_map(|i| i.text("diagnostics")).collect::<Vec<_>>().join("; ")
                )
            }
            (_, of) => bail!("the answer has an unexpected {}", of.unwrap_or("entry")),
        }
    }
    let mut expected = BTreeMap::new();
    for (member, id) in &person.patient {
        let at = world.member(member)?;
        let local = at.operator.get(&format!("{}/Patient/{id}/$everything?_count=100", at.plan.fhir())).await?;
        let local = at.operator.entries(local).await?;
        println!("   {:<22} {:>3} resources", at.plan.title, local.len());
        ensure!(provenances.contains(&at.plan.title), "no Provenance names {}", at.plan.title);
        for entry in &local {
            let url = entry.text("fullUrl").context("an entry has a fullUrl")?;
            expected.insert(url.to_owned(), entry.get("resource").context("an entry has a resource")?.write());
        }
    }
    let missing = expected.keys().filter(|url| !read.contains_key(*url)).count();
    let extra = read.keys().filter(|url| !expected.contains_key(*url)).count();
    ensure!(
        missing == 0 && extra == 0,
        "the answer lacks {missing} resources of the holders and has {extra} of nobody's"
    );
    ensure!(read == expected, "a resource in the answer is not as its holder serves it");
    ensure!(provenances.len() == person.patient.len(), "one Provenance for each member with a part");
    println!("   {} resources, byte for byte as the holders serve them", read.len());
    Ok(())
}

/// Runs `proof check` as anybody would.
fn check(world: &World, file: &PathBuf) -> Result<Vec<String>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["proof", "check"])
        .arg(file)
        .arg("--genesis")
        .arg(&world.genesis)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in text.lines() {
        println!("     {line}");
    }
    ensure!(output.status.success(), "`proof check` says that the proof is not valid");
    Ok(text.lines().map(str::to_owned).collect())
}

/// One changed bit must make the document invalid, and so must a page left out by somebody who repairs the checksum.
fn damage(world: &World, document: &[u8]) -> Result<()> {
    let mut changed = document.to_vec();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    let mut forged = Document::from_octets(document)?;
    let part = forged.parts.first_mut().context("the document has a part")?;
    part.pages.pop();
    let forged = forged.sealed().to_octets();
    let file = world.root.join("changed.proof");
    for (what, octets) in [("one bit changed", changed), ("a page left out, the checksum made anew", forged)] {
        std::fs::write(&file, &octets)?;
        let output = Command::new(std::env::current_exe()?)
            .args(["proof", "check"])
            .arg(&file)
            .arg("--genesis")
            .arg(&world.genesis)
            .output()?;
        std::fs::remove_file(&file)?;
        ensure!(output.status.code() == Some(1), "the document with {what} was not refused");
        let reason = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        println!("   the same with {what}: {}", reason.trim());
    }
    Ok(())
}

async fn list(world: &World, name: &str) -> Result<()> {
    let person = world.person(name)?;
    let home = world.member(&person.member)?;
    let patient = world.client(person);
    let url = format!("{}/AuditEvent?patient={}&scope=network", home.plan.fhir(), person.patient[&person.member]);
    let first = patient.get(&url).await?.expect(200, "asking who read")?;
    let proof = link(&first, "proof").context("the list links to its proof")?;
    let events = patient.entries(first).await?;
    println!("   {:<16} {:<10} {:<8} {:<21} what", "who", "role", "purpose", "when");
    let text = |event: &Value, path: &[&str]| -> String {
        let mut at = event;
        for step in path {
            let next = match at {
                Value::Array(items) => items.first().and_then(|i| i.get(step)),
                other => other.get(step),
            };
            let Some(next) = next else { return String::new() };
            at = next;
        }
        at.as_str().unwrap_or_default().to_owned()
    };
    let mut holders = BTreeSet::new();
    for entry in &events {
        let event = entry.get("resource").context("an entry has a resource")?;
        let who = text(event, &["agent", "who", "display"]);
        let purpose = event.get("purposeOfEvent").and_then(Value::as_array).and_then(|p| p.first());
        let purpose = purpose.map(|p| text(p, &["coding", "code"])).unwrap_or_default();
        let role = event.get("agent").and_then(Value::as_array).and_then(|a| a.first());
        let role = role.map(|a| text(a, &["role", "text"])).unwrap_or_default();
        let what = text(event, &["entity", "what", "display"]);
        let when = text(event, &["recorded"]);
        println!(
            "   {who:<16} {role:<10} {purpose:<8} {:<21} {what}: {}",
            &when[..19.min(when.len())],
            text(event, &["outcomeDesc"])
        );
        ensure!(
            who == "South Hospital" && role == "clinician" && purpose == "TREAT",
            "the list has an entry that nobody made"
        );
        holders.insert(what);
    }
    let others = person.patient.keys().filter(|member| *member != "south").count();
    ensure!(
        events.len() == others && holders.len() == others,
        "the list has {} entries, {others} holders released",
        events.len()
    );
    let file = world.root.join("accesses.proof");
    std::fs::write(&file, patient.get(&proof).await?.expect(200, "fetching the list's proof")?.body)?;
    println!("   the list is complete by its own proof:");
    check(world, &file)?;
    Ok(())
}

/// Ctrl-C, or SIGTERM.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

fn consent(patient: &str, organization: &str) -> Value {
    let concept = |system: &str, code: &str| {
        object([("coding", Value::Array(vec![object([("system", system.into()), ("code", code.into())])]))])
    };
    let actor = object([
        ("role", concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP")),
        ("reference", object([("reference", format!("Organization/{organization}").into())])),
    ]);
    object([
        ("resourceType", "Consent".into()),
        ("status", "active".into()),
        ("scope", concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy")),
        ("category", Value::Array(vec![concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "IDSCL")])),
        ("patient", object([("reference", format!("Patient/{patient}").into())])),
        ("policyRule", concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN")),
        ("provision", object([("type", "permit".into()), ("actor", Value::Array(vec![actor]))])),
    ])
}
