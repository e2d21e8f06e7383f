//! How does it start? Commands, configuration, wiring.

mod config;
mod demo;
mod found;
mod proof;
mod run;

use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// One patient, many hospitals, one history that nobody owns and nobody can quietly change.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a network of members as processes, load patients' stories, and show what it does
    Demo(demo::DemoArgs),
    /// Run the member whose directory this is
    Run {
        /// The member's directory, with suture.toml and keys/
        directory: PathBuf,
        /// End when standard input is closed: for programs that start members
        #[arg(long)]
        until_stdin_closes: bool,
    },
    /// Check proof documents
    #[command(subcommand)]
    Proof(proof::ProofCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Demo(args) => demo::run(args),
        Command::Run { directory, until_stdin_closes } => run::run(&directory, until_stdin_closes),
        Command::Proof(command) => proof::run(&command),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("suture: {error:#}");
            ExitCode::from(2)
        }
    }
}
