//! No member opens a file outside its own directory: shown by the system calls of a whole network, as the kernel sees
//! them.
//!
//! `strace -ff` writes a file for each thread. A thread belongs to the member whose `suture run DIR` it or one of its
//! ancestors executed.

#[expect(dead_code, reason = "no test file uses all of it")]
#[path = "shared/network.rs"]
mod network;
#[expect(dead_code, reason = "no test file uses all of it")]
#[path = "shared/process.rs"]
mod process;
#[expect(dead_code, reason = "no test file uses all of it")]
#[path = "shared/record.rs"]
mod record;

use network::{Member, Network, Person, ask, json};
use process::{Place, Running, SOON, SUTURE};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

/// Calls that open, make, move or remove files, that start programs and threads, and that do any of it unseen.
const CALLS: &str = "trace=?open,openat,?openat2,?creat,?rename,?renameat,?renameat2,?unlink,unlinkat,?mkdir,mkdirat,\
                     ?rmdir,?link,linkat,?symlink,symlinkat,?truncate,?chdir,?fchdir,?mknod,mknodat,?execve,?execveat,\
                     ?clone,?clone3,?fork,?vfork,?io_uring_setup,?open_by_handle_at";
/// System libraries and their like: read, never written.
const SYSTEM: [&str; 8] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc", "/sys", "/proc"];

/// What a member's process did.
#[derive(Debug, Default)]
struct Trace {
    /// Every path that it named to the kernel or was given by it, with the call.
    calls: BTreeSet<(PathBuf, String)>,
    opens: usize,
    threads: usize,
}

/// Whether there is a strace that may trace; says aloud when there is none, fails in CI.
fn strace(place: &Place) -> bool {
    let probe = place.beside("probe");
    let tried = Command::new("strace").args(["-qq", "-o"]).arg(&probe).args(["-e", "trace=execve", "true"]).output();
    let reason = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => format!("strace may not trace here: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(_) => "strace is not installed".to_owned(),
    };
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{reason}, and CI must run this test");
    eprintln!("SKIPPED: {reason}");
    false
}

/// A tracer that waits for the command to trace.
fn tracer(place: &Place) -> Command {
    let (traces, cwd) = (place.beside("traces"), place.beside("elsewhere"));
    fs::create_dir_all(&traces).unwrap();
    fs::create_dir_all(&cwd).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-ff", "--seccomp-bpf", "-qq", "-y", "-s", "4096", "-e", "signal=none", "-e", CALLS, "-o"]);
    strace.arg(traces.join("t"));
    // Cargo's own search path for libraries leads to its target folder.
    strace.current_dir(cwd).env_remove("LD_LIBRARY_PATH");
    strace
}

/// A call's name, its paths and its result; none for a line that is no call.
fn call(line: &str, cwd: &Path) -> Option<(String, Vec<PathBuf>, String)> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") = ").or_else(|| rest.rsplit_once(" = "))?;
    let (mut paths, mut base, mut at) = (Vec::new(), cwd.to_owned(), arguments);
    while let Some(next) = at.find(['"', '<']) {
        let close = if at.as_bytes()[next] == b'"' { '"' } else { '>' };
        let inner = &at[next + 1..];
        let end = inner.find(close)?;
        if close == '>' {
            base = PathBuf::from(&inner[..end]);
        } else {
            paths.push(plain(&base.join(&inner[..end])));
        }
        at = &inner[end + 1..];
    }
    // What a descriptor was opened to, after all links were followed.
    if let Some((_, opened)) = result.split_once('<')
        && let Some((opened, _)) = opened.rsplit_once('>')
        && name != "execve"
    {
        paths.push(plain(Path::new(opened)));
    }
    Some((name.to_owned(), paths, result.to_owned()))
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut all, component| {
        match component {
            Component::ParentDir => _ = all.pop(),
            Component::CurDir => {}
            other => all.push(other),
        }
        all
    })
}

/// What each member's process did, by the member's directory.
fn members(place: &Place) -> BTreeMap<PathBuf, Trace> {
    let cwd = place.beside("elsewhere");
    let (mut parents, mut roots, mut texts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for entry in fs::read_dir(place.beside("traces")).unwrap() {
        let path = entry.unwrap().path();
        let thread: u32 = path.extension().unwrap().to_str().unwrap().parse().unwrap();
        let text = fs::read_to_string(path).unwrap();
        let mut lines = Vec::new();
        for line in text.lines() {
            let Some((name, paths, result)) = call(line, &cwd) else { continue };
            match name.as_str() {
                "clone" | "clone3" | "fork" | "vfork" => {
                    let child = result.split_whitespace().next().and_then(|n| n.parse::<u32>().ok());
                    parents.extend(child.map(|child| (child, thread)));
                }
                "execve" if result.starts_with('0') && line.contains(", \"run\", \"") => {
                    let directory = line.split_once(", \"run\", \"").unwrap().1;
                    roots.insert(thread, PathBuf::from(directory.split('"').next().unwrap()));
                    // What it did before was still the demo's.
                    lines.clear();
                }
                _ => lines.push((name, paths, line.to_owned())),
            }
        }
        texts.insert(thread, lines);
    }
    let mut members: BTreeMap<PathBuf, Trace> = BTreeMap::new();
    for (thread, lines) in texts {
        let mut at = thread;
        while !roots.contains_key(&at)
            && let Some(parent) = parents.get(&at)
        {
            at = *parent;
        }
        let Some(directory) = roots.get(&at) else { continue };
        let trace = members.entry(directory.clone()).or_default();
        trace.threads += 1;
        for (name, paths, line) in lines {
            trace.opens += usize::from(name.starts_with("open") || name == "creat");
            // A call without a path, as `chdir` to a descriptor, is named by itself.
            let paths = if paths.is_empty() { vec![PathBuf::from(&name)] } else { paths };
            trace.calls.extend(paths.into_iter().map(|path| (path, line.clone())));
        }
    }
    members
}

/// What a member did that it must not do.
fn findings(directory: &Path, trace: &Trace) -> Vec<String> {
    let executable = Path::new(SUTURE);
    let right = |path: &Path, line: &str| {
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag));
        let opens = line.starts_with("open");
        let device = path.starts_with("/dev") && !path.starts_with("/dev/shm") && !path.starts_with("/dev/mqueue");
        let system = SYSTEM.iter().any(|system| path.starts_with(system)) || path == executable;
        path.starts_with(directory) || opens && (device || system && !writes)
    };
    trace.calls.iter().filter(|(path, line)| !right(path, line)).map(|(_, line)| line.clone()).collect()
}

#[tokio::test]
async fn no_member_opens_a_file_outside_its_own_directory() {
    let place = Place::new();
    if !strace(&place) {
        return;
    }
    let program = |place: &Place| {
        let mut strace = tracer(place);
        strace.arg(SUTURE);
        strace
    };
    let running = Network::start_in(place, program, &["--members", "4", "--patients", "4"]).await;
    let person = &running.patients(&["north", "south", "clinic", "lab"], &[])[0];
    for member in running.members() {
        crowded(&member, &person.ids[&member.name]).await;
    }
    read_and_listed(&running, person).await;
    let place = running.stop().await;
    let network = place.network();
    let members = members(&place);
    let names: Vec<&Path> = members.keys().map(|m| m.strip_prefix(&network).unwrap()).collect();
    assert_eq!(names, ["clinic", "lab", "north", "south"].map(Path::new));
    for (directory, trace) in &members {
        println!("{}: {} threads, {} files opened", directory.display(), trace.threads, trace.opens);
        // The trace sees what a member does: many opens, in all of its threads' rooms.
        assert!(trace.opens > 20 && trace.threads > 3, "{trace:?}");
        for own in ["suture.toml", "keys/seed", "data/suture.db", "chain", "vault"] {
            let own = directory.join(own);
            assert!(trace.calls.iter().any(|(path, _)| path.starts_with(&own)), "{} was not opened", own.display());
        }
        let found = findings(directory, trace);
        assert!(found.is_empty(), "outside of {}:\n{}", directory.display(), found.join("\n"));
    }
}

/// Large writes amid many small ones, as a busy day has them: what does not fit memory goes to the disk.
async fn crowded(at: &Member, patient: &str) {
    let entry = |number: usize| {
        let resource = json!({
            "resourceType": "Observation", "status": "final", "code": {"text": format!("number {number}")},
            "subject": {"reference": format!("Patient/{patient}")},
        });
        json!({"resource": resource, "request": {"method": "POST", "url": "Observation"}})
    };
    let entries: Value = (0..300).map(entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    let url = format!("{}/Patient/{patient}", at.fhir);
    let large = async {
        for _ in 0..4 {
            ask(&at.operator, 200, ("POST", &at.fhir), Some(bundle.clone())).await;
        }
    };
    // Each read leaves an audit line.
    let small = futures::future::join_all((0..8).map(|_| async {
        loop {
            ask(&at.operator, 200, ("GET", &url), None).await;
        }
    }));
    tokio::select! {
        () = large => {}
        _ = small => {}
    }
    let status = format!("{}/admin/status", at.web);
    network::until("all is final", 2 * SOON, || async {
        let status = json(&ask(&at.operator, 200, ("GET", &status), None).await);
        (status["outbox"] == 0).then_some(())
    })
    .await;
}

async fn read_and_listed(network: &Network, person: &Person) {
    let (south, clinician) = (network.member("south"), network.clinician("south"));
    record::grant(network, person, "south", |_| ()).await;
    let read = record::read(&clinician, &south, &person.ids["south"], (None, 1_000)).await;
    assert!(read.outcomes.is_empty(), "{:?}", read.outcomes);
    record::prove(network, &clinician, &read.proof).await;
    let home = network.member(&person.home);
    let url = format!("{}/AuditEvent?patient={}&scope=network", home.fhir, person.ids[&person.home]);
    assert_eq!(record::search(&person.client, &url).await.len(), person.ids.len() - 1);
}

/// The test above can fail: a 'member' that looks around is found out, by a name, by a link, by its child.
#[tokio::test]
async fn a_process_that_opens_another_members_file_is_found_out() {
    let place = Place::new();
    if !strace(&place) {
        return;
    }
    let (own, other) = (place.network().join("north"), place.network().join("south"));
    for directory in [&own, &other] {
        fs::create_dir_all(directory).unwrap();
    }
    for name in ["named", "linked", "by-child", "written"] {
        fs::write(other.join(name), "secret").unwrap();
    }
    fs::write(own.join("mine"), "own").unwrap();
    std::os::unix::fs::symlink(other.join("linked"), own.join("link")).unwrap();
    let script = r#"read -r a <"$1/mine"; read -r a <"$1/../south/named"; read -r a <"$1/link"; (read -r a <"$1/../south/by-child"); echo >"$1/../south/written"; : >/dev/null"#;
    let mut strace = tracer(&place);
    strace.args(["sh", "-c", script, "run", own.to_str().unwrap()]);
    let mut sneak = Running::start(&mut strace, place.beside("traced.log"));
    let status = sneak.end(SOON).await;
    assert!(status.success(), "{status}\n{}", sneak.said());
    let members = members(&place);
    assert_eq!(members.keys().collect::<Vec<_>>(), [&own]);
    let found = findings(&own, &members[&own]);
    let lines = found.join("\n");
    for name in ["south/named", "south/linked", "south/by-child", "south/written"] {
        assert!(lines.contains(name), "{name} was not found out:\n{lines}");
    }
    assert_eq!(found.len(), 4, "and nothing else:\n{lines}");
}
