//! Arrows, licences, bans and unused dependencies, from `cargo metadata`.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// What each room may depend on within the workspace: arrows point down only.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("ledger", &["wire"]),
    ("chain", &["wire", "ledger"]),
    ("vault", &[]),
    ("store", &[]),
    ("fhir", &[]),
    ("identity", &[]),
    ("records", &["wire", "ledger", "chain", "vault", "store", "fhir", "identity"]),
    ("edge", &["wire", "records", "fhir", "identity"]),
    ("lab", &["fhir", "wire"]),
    ("suture", &["wire", "chain", "vault", "store", "fhir", "records", "edge", "lab", "ledger", "identity"]),
    ("xtask", &[]),
];

/// Families of outside crates that only some rooms may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    // The engine: `chain`, and in `wire` the one module that checks its certificates and proofs.
    ("commonware-", &["chain", "wire"]),
    ("rusqlite", &["store"]),
    ("axum", &["edge"]),
    ("maud", &["edge"]),
    ("hpke", &["wire"]),
    ("chacha20poly1305", &["wire"]),
    ("ed25519-dalek", &["wire"]),
    ("hmac", &["wire"]),
    ("anyhow", &["suture", "lab", "xtask"]),
];

/// Crates that must not come in by any way, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "a second TLS and cryptography library in C"),
    ("native-tls", "a second TLS library"),
    ("bincode", "not a canonical format"),
    ("ring", "a second cryptography library; aws-lc-rs and RustCrypto serve"),
    ("rumqttc", "stale, with advisories of old TLS libraries"),
    ("chrono", "`time` is the clock here"),
];

const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CC0-1.0",
    "MIT-0",
    "0BSD",
    "Unlicense",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MPL-2.0",
];

pub(super) fn check() -> Result<Vec<String>> {
    let output = Command::new(env!("CARGO")).args(["metadata", "--format-version", "1", "--locked"]).output()?;
    anyhow::ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    let members: BTreeSet<&str> = list(&metadata["workspace_members"]).filter_map(Value::as_str).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if package["id"].as_str().is_some_and(|id| members.contains(id)) {
            room(name, package, &mut findings)?;
        } else {
            outside(name, package, &mut findings);
        }
    }
    Ok(findings)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn room(name: &str, package: &Value, findings: &mut Vec<String>) -> Result<()> {
    let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == name) else {
        findings.push(format!("{name} has no place in the floor plan (xtask/src/tidy/crates.rs)"));
        return Ok(());
    };
    let manifest = Path::new(package["manifest_path"].as_str().context("a package has a manifest")?);
    let mut sources = String::new();
    let root = manifest.parent().context("a manifest lies in a directory")?;
    for folder in ["src", "tests", "benches", "examples"] {
        super::files::walk(&root.join(folder), &mut |path| {
            sources.push_str(&fs::read_to_string(path).unwrap_or_default());
        })?;
    }
    for dependency in list(&package["dependencies"]) {
        let on = dependency["name"].as_str().unwrap_or_default();
        let within = ARROWS.iter().any(|(room, _)| *room == on);
        if within && !allowed.contains(&on) {
            findings.push(format!("{name} must not know {on}: arrows point down only (ARCHITECTURE.md)"));
        }
        for (family, rooms) in ONLY_IN {
            let named = if family.ends_with('-') { on.starts_with(family) } else { on == *family };
            if named && !rooms.contains(&name) {
                findings.push(format!("{name} must not name {on}: only {} may", rooms.join(" and ")));
            }
        }
        let ident = on.replace('-', "_");
        let used = sources.match_indices(&ident).any(|(at, _)| {
            let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            edge(sources[..at].chars().next_back()) && edge(sources[at + ident.len()..].chars().next())
        });
        if !used {
            findings.push(format!("{name} does not use its dependency {on}"));
        }
    }
    Ok(())
}

fn outside(name: &str, package: &Value, findings: &mut Vec<String>) {
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
        findings.push(format!("{name} is banned: {why}"));
    }
    if package["source"].as_str().is_some_and(|source| !source.starts_with("registry+")) {
        findings.push(format!("{name} does not come from a registry"));
    }
    let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
    // An expression is accepted when each part joined by AND has an accepted choice.
    let accepted = licence.split(" AND ").all(|part| {
        part.trim_matches(|c| c == '(' || c == ')')
            .split(" OR ")
            .any(|one| LICENCES.contains(&one.trim_matches(|c| c == '(' || c == ')').trim()))
    });
    if !accepted {
        findings.push(format!("{name} has the licence {licence:?}, which is not on the list"));
    }
}
