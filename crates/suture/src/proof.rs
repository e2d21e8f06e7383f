//! `suture proof check`: offline, with the genesis alone.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use wire::{
    Format as _,
    genesis::Genesis,
    proof::{Complete, Document, Findings, Subject},
};

/// What can be done with proof documents.
#[derive(Subcommand)]
pub(crate) enum ProofCommand {
    /// Check a document; exit 0 when it is valid and complete, 1 when it is not
    Check {
        /// The document
        file: PathBuf,
        /// The network's genesis
        #[arg(long)]
        genesis: PathBuf,
    },
}

/// Runs the command.
pub(crate) fn run(command: &ProofCommand) -> Result<ExitCode> {
    let ProofCommand::Check { file, genesis } = command;
    match check(file, genesis) {
        Ok((genesis, findings)) => {
            print(&genesis, &findings);
            Ok(if findings.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            println!("NOT VALID: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn check(file: &Path, genesis: &Path) -> Result<(Genesis, Findings)> {
    let octets = fs::read(genesis).with_context(|| format!("{} cannot be read", genesis.display()))?;
    let genesis = Genesis::from_octets(&octets).with_context(|| format!("{} is not a genesis", genesis.display()))?;
    let octets = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let findings = Document::from_octets(&octets)?.verify(&genesis)?;
    Ok((genesis, findings))
}

/// Texts come from whoever wrote the document: nothing in them may pass for a line of ours.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn print(genesis: &Genesis, findings: &Findings) {
    let title = |number: u32| genesis.member(number).map_or("?".to_owned(), |m| plain(&m.title));
    let pages = |c: &Complete| format!("pages 0..{} present, {} absent at height {}", c.pages - 1, c.pages, c.height);
    for part in &findings.parts {
        let what = if findings.subject == Subject::Record { "record versions" } else { "accesses" };
        println!("{}: complete: {} ({} {what})", title(part.member), pages(part), part.leaves);
    }
    for missing in &findings.missing {
        println!("{}: NOT SHOWN: it is listed as a holder, but its part is not here", title(*missing));
    }
    let holders = &findings.holders;
    println!("list of holders, kept by {}: complete: {}", title(holders.member), pages(holders));
    if let Some(height) = findings.requested {
        println!("request of {} finalized at height {height}, under a grant on the ledger", title(findings.viewer));
    }
    for (member, height) in &findings.releases {
        println!("{} entered its release at height {height}", title(*member));
    }
    for (member, height, item) in &findings.accesses {
        println!(
            "{} {:?} to {} ({}) for {} at height {height}: {} pages, {} record versions",
            title(*member),
            item.outcome,
            title(item.reader),
            plain(&item.role),
            plain(&item.purpose),
            item.pages,
            item.records
        );
    }
    println!("finalized by the validators of this genesis at height {}", findings.height);
}
