//! Sizes, forbidden names, first lines and links.

use anyhow::Result;
use std::{fs, path::Path};

/// Lines beyond which a file is two rooms.
const LINES_MAX: usize = 600;
/// Lines of ARCHITECTURE.md and of a decision.
const ARCHITECTURE_LINES_MAX: usize = 300;
const DECISION_LINES_MAX: usize = 60;

pub(super) fn check() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for folder in ["crates", "xtask"] {
        walk(Path::new(folder), &mut |path| {
            if path.extension().is_some_and(|e| e == "rs") {
                source(path, &fs::read_to_string(path).unwrap_or_default(), &mut findings);
            }
        })?;
    }
    for file in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "NOTICE", "LICENSE"] {
        if !Path::new(file).exists() {
            findings.push(format!("{file} is missing"));
        }
    }
    let mut pages = vec!["README.md".into(), "ARCHITECTURE.md".into(), "CHANGELOG.md".into()];
    walk(Path::new("docs"), &mut |path| pages.push(path.to_path_buf()))?;
    for page in pages.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(page).unwrap_or_default();
        links(page, &text, &mut findings);
        let max = match page {
            p if p.ends_with("ARCHITECTURE.md") => ARCHITECTURE_LINES_MAX,
            p if p.starts_with("docs/decisions") => DECISION_LINES_MAX,
            _ => usize::MAX,
        };
        if text.lines().count() > max {
            findings.push(format!("{} has more than {max} lines", page.display()));
        }
    }
    Ok(findings)
}

fn source(path: &Path, text: &str, findings: &mut Vec<String>) {
    let shown = path.display();
    if path.file_name().is_some_and(|n| n == "mod.rs") {
        findings.push(format!("{shown}: write foo.rs and foo/, not mod.rs"));
    }
    if text.lines().count() > LINES_MAX {
        findings.push(format!("{shown} has more than {LINES_MAX} lines: it is two rooms"));
    }
    if !text.starts_with("//!") {
        findings.push(format!("{shown} does not begin by saying what it is for (//!)"));
    }
    // Written in two parts, so that this file does not find itself.
    for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[all", "ow("), concat!("#[ign", "ore]")] {
        if text.contains(word) {
            findings.push(format!("{shown} contains {word}"));
        }
    }
}

/// Relative links that lead nowhere.
fn links(page: &Path, text: &str, findings: &mut Vec<String>) {
    for (at, _) in text.match_indices("](") {
        let Some((target, _)) = text[at + 2..].split_once(')') else { continue };
        let file = target.split('#').next().unwrap_or_default();
        if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let full = page.parent().unwrap_or(Path::new("")).join(file);
        if !full.exists() {
            findings.push(format!("{} links to {target}, which is not there", page.display()));
        }
    }
}

/// All files below a folder, in order; nothing when the folder is absent.
pub(super) fn walk(folder: &Path, each: &mut dyn FnMut(&Path)) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, each)?;
        } else {
            each(&path);
        }
    }
    Ok(())
}
