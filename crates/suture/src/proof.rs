//! `suture proof check`: offline, with the genesis alone.

use anyhow::{Context as _, Result};
use clap::Subcommand;
use std::{
    fmt::{self, Write as _},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};
use wire::{
    Format as _,
    genesis::Genesis,
    message::Outcome,
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
    let (text, reason) = match check(file, genesis) {
        Ok((genesis, findings)) => {
            let reason = match findings.missing.len() {
                0 => None,
                n => Some(format!("{} is not complete: holders that it does not show: {n}", file.display())),
            };
            (report(&genesis, &findings)?, reason)
        }
        Err(error) => (String::new(), Some(format!("{error:#}"))),
    };
    let printed = std::io::stdout().write_all(text.as_bytes());
    let reason = reason.or(printed.err().map(|error| format!("the findings cannot be printed: {error}")));
    Ok(match reason {
        None => ExitCode::SUCCESS,
        Some(reason) => {
            // When standard error is closed too, the exit code still says it.
            drop(writeln!(std::io::stderr(), "NOT VALID: {}", plain(&reason)));
            ExitCode::FAILURE
        }
    })
}

fn check(file: &Path, genesis: &Path) -> Result<(Genesis, Findings)> {
    let octets = fs::read(genesis).with_context(|| format!("{} cannot be read", genesis.display()))?;
    let genesis = Genesis::from_octets(&octets).with_context(|| {
        format!(
            "{} is not a genesis: give the file that the network began with (a demo's is DIR/genesis)",
            genesis.display()
        )
    })?;
    let octets = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let document = Document::from_octets(&octets).with_context(|| format!("{} is not a proof", file.display()))?;
    let findings = document.verify(&genesis).with_context(|| format!("{} does not hold", file.display()))?;
    Ok((genesis, findings))
}

/// Texts come from whoever wrote the document: nothing in them may pass for a line of ours, nor turn one around.
fn plain(text: &str) -> String {
    let unseen = |c: char| {
        let marks = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
        c.is_control() || matches!(c, '\u{61c}' | '\u{feff}') || marks.iter().any(|range| range.contains(&c))
    };
    text.chars().map(|c| if unseen(c) { '\u{fffd}' } else { c }).collect()
}

/// What a document proves, a line each.
fn report(genesis: &Genesis, findings: &Findings) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let title = |number: u32| genesis.member(number).map_or("?".to_owned(), |m| plain(&m.title));
    let pages = |c: &Complete| format!("pages 0..{} present, {} absent at height {}", c.pages - 1, c.pages, c.height);
    for part in &findings.parts {
        let what = if findings.subject == Subject::Record { "record versions" } else { "accesses" };
        writeln!(text, "{}: complete: {} ({} {what})", title(part.member), pages(part), part.leaves)?;
    }
    for missing in &findings.missing {
        writeln!(text, "{}: NOT SHOWN: it is listed as a holder, but its part is not here", title(*missing))?;
    }
    let holders = &findings.holders;
    writeln!(text, "list of holders, kept by {}: complete: {}", title(holders.member), pages(holders))?;
    if let Some(height) = findings.requested {
        writeln!(
            text,
            "request of {} finalized at height {height}, under a grant on the ledger",
            title(findings.viewer)
        )?;
    }
    for (member, height) in &findings.releases {
        writeln!(text, "{} entered its release at height {height}", title(*member))?;
    }
    for (member, height, item) in &findings.accesses {
        writeln!(
            text,
            "{} {} {} ({}) for {} at height {height}: {} pages, {} record versions",
            title(*member),
            match item.outcome {
                Outcome::Released => "released to",
                Outcome::Refused => "refused",
                Outcome::Withheld => "withheld from",
            },
            title(item.reader),
            plain(&item.role),
            plain(&item.purpose),
            item.pages,
            item.records
        )?;
    }
    writeln!(text, "finalized by the validators of this genesis at height {}", findings.height)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_valid_and_is_named() {
        let dir = std::env::temp_dir().join(format!("suture-proof-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (odd, none) = (dir.join("odd"), dir.join("none"));
        fs::write(&odd, b"neither a proof nor a genesis").unwrap();
        let reason = |file: &Path, genesis: &Path| format!("{:#}", check(file, genesis).err().unwrap());
        assert!(reason(&odd, &none).contains("none cannot be read: "));
        assert!(reason(&none, &odd).contains("odd is not a genesis: "));
        let command = ProofCommand::Check { file: odd.clone(), genesis: odd };
        assert_eq!(format!("{:?}", run(&command).unwrap()), format!("{:?}", ExitCode::FAILURE));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_text_of_the_document_cannot_pass_for_a_line_of_ours() {
        assert_eq!(plain("nurse\nNorth: complete\u{1b}[2K\u{202e}"), "nurse\u{fffd}North: complete\u{fffd}[2K\u{fffd}");
        assert_eq!(plain("Ärztin, 看護師"), "Ärztin, 看護師");
    }
}
