//! What a program asks of an agent, and what it is told: one of each a connection.

use std::net::{IpAddr, SocketAddr};

use ntmfw::elsewhere::Found;
use ntmfw::service::Traffic;
use serde::{Deserialize, Serialize};

/// Of what stands here. An agent of another version is not asked.
pub(crate) const VERSION: u32 = 1;

/// One question, in the name of a node: an agent that holds another one refuses.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) version: u32,
    /// Where it is not said, the program takes whichever node the agent holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    pub(crate) call: Call,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Call {
    /// What the agent's node is called.
    Name,
    /// The node of a name.
    Resolve(String),
    /// What the node with an address is called.
    Reverse(IpAddr),
    /// A descriptor that carries data to a peer. Without `wait` it is given at once and shows itself what becomes of it.
    Connect {
        traffic: Traffic,
        to: SocketAddr,
        wait: bool,
    },
    /// A descriptor that carries connections to a port.
    Listen {
        port: u16,
        backlog: i32,
    },
    /// A port of the kernel's, whose descriptor comes along, listens for nodes as well.
    Serve {
        backlog: i32,
    },
    Status,
    Flows,
    /// A descriptor from which packets can be read, in the format of pcap.
    Capture,
    /// The agent ends.
    Stop,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// A name or a JSON text.
    Text(String),
    Reversed(Option<String>),
    Found(Found),
    /// A descriptor comes along.
    Link {
        local: SocketAddr,
        remote: SocketAddr,
        connected: bool,
    },
    /// A descriptor comes along.
    Descriptor,
    Done,
    Refused {
        errno: i32,
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_looks_as_it_is_documented() {
        let to = "198.18.0.1:80".parse().expect("an address");
        let call = Call::Connect { traffic: Traffic::Stream, to, wait: true };
        let request = Request { version: VERSION, node: Some("a.ntm.example".to_owned()), call };
        let text = serde_json::to_string(&request).expect("it can be written");
        assert_eq!(
            text,
            r#"{"version":1,"node":"a.ntm.example","call":{"connect":{"traffic":"stream","to":"198.18.0.1:80","wait":true}}}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).expect("it can be read"), request);
    }
}
