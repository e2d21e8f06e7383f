//! The project's own chores: `cargo xtask ci` runs what CI runs, `cargo xtask tidy` what prose cannot enforce.

mod ci;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>

  ci      formatting, tidy, lints, documentation, tests, and the tests that need more than Rust
          --without-tests   leaves out `cargo test --workspace` (when it has just run)
  tidy    arrows between crates, licences and bans, unused dependencies, sizes of files, dead links";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["ci"] => ci::run(ci::Tests::All),
        ["ci", "--without-tests"] => ci::run(ci::Tests::OnlyThoseThatNeedMore),
        ["tidy"] => tidy::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
