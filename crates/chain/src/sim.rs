//! Whole networks on the engine's deterministic runtime: lossy links, crashes, partitions, late members, a liar.
//!
//! Time, randomness, network and storage are simulated, so a run follows from its seed alone. A failing seed is
//! printed, and `SUTURE_SEED=<seed> cargo test -p chain --lib <test>` runs it again. [`world`] is a network and its
//! history, [`load`] what its members submit, [`audit`] what must hold at the end.

mod audit;
mod crash;
mod epochs;
mod happy;
mod join;
mod liar;
mod links;
mod load;
mod world;

use crate::process::STACK;
use std::{
    cell::RefCell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Once,
};

thread_local! {
    /// Panics on this thread, which is the simulation's only one.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Runs a scenario with each seed, or with the one of `SUTURE_SEED`.
fn seeds(scenario: &'static str, seeds: Range<u64>, run: impl Fn(u64) + Send + 'static) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Not there any more when its thread ends.
            let _noted = PANICS.try_with(|panics| panics.borrow_mut().push(info.to_string()));
            before(info);
        }));
    });
    let only = std::env::var("SUTURE_SEED").ok().map(|seed| seed.parse().expect("SUTURE_SEED is a number"));
    let seeds = only.map_or(seeds, |seed| seed..seed + 1);
    let thread = std::thread::Builder::new().name(scenario.into()).stack_size(STACK).spawn(move || {
        for seed in seeds {
            PANICS.with(|panics| panics.borrow_mut().clear());
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
                eprintln!("{scenario} failed: SUTURE_SEED={seed} cargo test -p chain --lib {scenario}");
                resume_unwind(panic);
            }
        }
    });
    if let Err(panic) = thread.expect("a thread starts").join() {
        resume_unwind(panic);
    }
}

/// Panics of actors since the seed began that are no consequence of a crash. A crash drops a member's actors in any
/// order, and one that waits for another says so by panicking.
fn unexplained_panics(crashed: bool) -> Vec<String> {
    let panics = PANICS.with(|panics| panics.borrow().clone());
    panics.into_iter().filter(|panic| !(crashed && panic.contains("stateful actor dropped"))).collect()
}
