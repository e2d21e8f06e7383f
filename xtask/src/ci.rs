//! What CI runs, step by step, each with its time.

use anyhow::{Context as _, Result, ensure};
use std::{process::Command, time::Instant};

/// Which tests run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// All.
    All,
    /// Those alone that need more than Rust: a tracer of system calls.
    OnlyThoseThatNeedMore,
}

/// Runs all steps; stops at the first that fails.
pub(crate) fn run(tests: Tests) -> Result<()> {
    step("formatting", &["fmt", "--all", "--check"], &[])?;
    println!("== tidy");
    crate::tidy::run()?;
    step("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])?;
    step(
        "documentation",
        &["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    if tests == Tests::All {
        step("tests", &["test", "--workspace", "--locked"], &[])?;
    }
    need("strace");
    step(
        "tests that need more",
        &["test", "--locked", "--package", "suture", "--test", "own_directory", "--", "--nocapture"],
        &[],
    )?;
    println!("== all steps passed");
    Ok(())
}

fn step(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("== {name}: cargo {}", arguments.join(" "));
    let began = Instant::now();
    let mut cargo = Command::new(env!("CARGO"));
    let status = cargo.args(arguments).envs(environment.iter().copied()).status().context("cargo does not start")?;
    ensure!(status.success(), "{name} failed");
    println!("== {name}: {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Installs a program by its package name where that can be done; says so where it cannot.
fn need(program: &str) {
    let found = |name: &str| {
        Command::new("sh").args(["-c", &format!("command -v {name}")]).output().is_ok_and(|o| o.status.success())
    };
    if found(program) {
        return;
    }
    println!("== installing {program}");
    let install = format!(
        "apt-get install -y --no-install-recommends {program} || sudo -n apt-get install -y --no-install-recommends {program}"
    );
    let installed = Command::new("sh").args(["-c", &install]).status().is_ok_and(|s| s.success());
    if !installed || !found(program) {
        println!("== {program} could not be installed: the tests that need it are SKIPPED and say so");
    }
}
