//! The contracts of the product's interface, each shown from outside: the program as processes, HTTP, a token.

#[path = "shared/network.rs"]
mod network;
#[expect(dead_code, reason = "no test file uses all of it")]
#[path = "shared/process.rs"]
mod process;
#[path = "shared/record.rs"]
mod record;

#[path = "contracts/grants.rs"]
mod grants;
#[path = "contracts/manifest.rs"]
mod manifest;
#[path = "contracts/processes.rs"]
mod processes;
#[path = "contracts/reads.rs"]
mod reads;
#[path = "contracts/roles.rs"]
mod roles;
#[path = "contracts/writes.rs"]
mod writes;
