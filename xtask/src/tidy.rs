//! Checks that the floor plan and the house rules still hold.

mod crates;
mod files;

use anyhow::{Result, ensure};

/// Runs all checks; prints every finding.
pub(crate) fn run() -> Result<()> {
    let mut findings = crates::check()?;
    findings.extend(files::check()?);
    for finding in &findings {
        println!("tidy: {finding}");
    }
    ensure!(findings.is_empty(), "tidy found {} things to mend", findings.len());
    println!("tidy: the floor plan and the house rules hold");
    Ok(())
}
