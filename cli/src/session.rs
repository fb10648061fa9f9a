//! The node that a command works on.

use std::path::Path;
use std::sync::Arc;

use ntm_agent::{Client, Fault, Local, Node, socket_path};
use ntm_program::Failure;
use ntmfw::service;

/// What names the configuration, for the library and for the programs that are run.
const CONFIG_VARIABLE: &str = "NTMFW_CONFIG";

/// How a command gets at its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// Whether an agent may be used.
    pub(crate) agent: bool,
}

impl Session {
    /// The agent's node where one runs, else this process's own.
    pub(crate) fn node(self) -> Result<Arc<dyn Node>, Failure> {
        if let Some(client) = self.agent() {
            return Ok(Arc::new(client));
        }
        Ok(Arc::new(Local::begin().map_err(failure)?))
    }

    /// The agent that holds the configured node, or any where none is configured, if one runs. One that holds another node
    /// is no reason to fail.
    pub(crate) fn agent(self) -> Option<Client> {
        let node = service::configured_name().ok();
        self.agent.then(|| Client::meet(&socket_path(), node.as_deref()).ok()).flatten()
    }
}

/// From now on the configuration is this file.
#[allow(unsafe_code)]
pub(crate) fn use_config(path: &Path) {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // SAFETY: called before there is a second thread.
    unsafe { std::env::set_var(CONFIG_VARIABLE, path) };
}

/// What the library says, with the status that fits it.
pub(crate) fn failure(fault: Fault) -> Failure {
    match fault.errno.0 {
        libc::EINVAL => Failure::usage(fault.message),
        libc::ECONNREFUSED => {
            Failure::new(fault.message).way_out("the node is there, but nothing listens at that port")
        }
        _ => Failure::new(fault.message),
    }
}
