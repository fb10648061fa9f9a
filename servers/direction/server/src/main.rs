use std::process::ExitCode;

fn main() -> ExitCode {
    ntm_server::main::<ntm_dc::DirectionServer>()
}
