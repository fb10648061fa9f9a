//! Where the agent is met.

use std::path::PathBuf;

use crate::wire;

/// Names the agent's socket where it is not at its usual place.
pub const SOCKET_VARIABLE: &str = "NTMFW_AGENT";

/// Names the program `ntm` for the shim, which runs `ntm keep` where ports shall outlive their process.
pub const KEEPER_VARIABLE: &str = "NTM_KEEPER";

/// `$NTMFW_AGENT`, or `ntmfw/agent.sock` in the directory that the system keeps for what this user runs.
#[must_use]
pub fn socket_path() -> PathBuf {
    if let Some(named) = std::env::var_os(SOCKET_VARIABLE).filter(|named| !named.is_empty()) {
        return named.into();
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_else(|| {
        let user = wire::own_user();
        let usual = PathBuf::from(format!("/run/user/{user}"));
        if usual.is_dir() { usual } else { std::env::temp_dir().join(format!("ntmfw-{user}")) }
    });
    own.join("ntmfw/agent.sock")
}
