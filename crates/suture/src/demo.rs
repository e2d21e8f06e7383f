//! `suture demo`: five members as processes, patients' stories, a complete record, and who read it; each step
//! checked from outside, over the wire and by `proof check`.

mod steps;
mod world;

use anyhow::Result;
use clap::Args;
use std::{path::PathBuf, process::ExitCode};

/// How the demo runs.
#[derive(Args, Clone)]
pub(crate) struct DemoArgs {
    /// Load everything, then stay until Ctrl-C, so that one can use curl, a browser or an app on it
    #[arg(long)]
    stay: bool,
    /// Where to put it; a fresh temporary folder when absent
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Number of members
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=9))]
    members: u8,
    /// Number of patients: 12 of the stories when absent, all of --data
    #[arg(long, value_parser = clap::value_parser!(u16).range(4..=500))]
    patients: Option<u16>,
    /// A folder of Synthea FHIR R4 bundles (.json, .json.gz) to load in place of the stories, split over the members
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which patients are made beyond the stories' own
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the demo; exit 0 only when each check held.
pub(crate) fn run(args: DemoArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(steps::all(args))
}
