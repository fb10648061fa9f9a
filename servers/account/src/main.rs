//! `ntm-as`, the account server.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ntm_server::main::<ntm_account::AccountServer>()
}
