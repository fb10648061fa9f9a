//! What the owner of an account does with its nodes, and whether it is an account server that answers.
//!
//! ```text
//! POST   /v1/session        {account, password}  ->  {csrf, …} and a cookie    Account::sign_in
//! GET    /v1/nodes                                                             nodes
//! PATCH  /v1/nodes/NAME     {name}                                             rename
//! DELETE /v1/nodes/NAME                                                        revoke
//! DELETE /v1/session                                                           sign_out
//! ```

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use crate::client::{Error, TIMEOUT, connect, read};

const COOKIE: &str = "__Host-ntm";
const CSRF_HEADER: &str = "x-csrf-token";

/// A node of an account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct OwnedNode {
    pub name: String,
    /// Of its identity, in hexadecimal.
    pub id: String,
    /// Its last login or renewal, in milliseconds since 1970.
    pub seen: u64,
    /// When it was revoked, in milliseconds since 1970.
    pub revoked: Option<u64>,
}

/// A signed-in account.
#[derive(Debug)]
pub struct Account {
    agent: ureq::Agent,
    url: String,
    cookie: String,
    csrf: String,
}

#[derive(Deserialize)]
struct Session {
    csrf: String,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<OwnedNode>,
}

impl Account {
    /// `url` and `ca` as for [`Client::new`](crate::Client::new).
    pub fn sign_in(url: &str, ca: Option<&Path>, account: &str, password: &str) -> Result<Self, Error> {
        let (agent, url) = connect(url, ca, TIMEOUT)?;
        let body = Zeroizing::new(json!({ "account": account, "password": password }).to_string());
        let unreachable = |why: ureq::Error| Error::Unreachable(format!("{url}: {why}"));
        let call = agent.post(format!("{url}/v1/session")).content_type("application/json");
        let mut response = call.send(body.as_bytes()).map_err(unreachable)?;
        let cookies = response.headers().get_all("set-cookie").iter();
        let cookie = cookies
            .filter_map(|value| value.to_str().ok()?.split(';').next())
            .find(|pair| pair.split('=').next() == Some(COOKIE))
            .map(str::to_owned);
        let session: Session = parse(&url, &mut response)?;
        let cookie = cookie.ok_or(Error::Malformed("the session"))?;
        Ok(Self { agent, url, cookie, csrf: session.csrf })
    }

    /// The account's nodes.
    pub fn nodes(&self) -> Result<Vec<OwnedNode>, Error> {
        let call = self.agent.get(self.address("/v1/nodes")).header("cookie", &self.cookie);
        let mut response = call.call().map_err(|why| self.unreachable(&why))?;
        parse::<Nodes>(&self.url, &mut response).map(|answer| answer.nodes)
    }

    /// Gives a node another name. It hears of it at its next login.
    pub fn rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let call = self.agent.patch(self.address(&format!("/v1/nodes/{name}")));
        let call = call.header("cookie", &self.cookie).header(CSRF_HEADER, &self.csrf).content_type("application/json");
        let mut response = call.send(json!({ "name": new }).to_string()).map_err(|why| self.unreachable(&why))?;
        read(&self.url, &mut response).map(drop)
    }

    /// Ends a node's right to be one, for ever.
    pub fn revoke(&self, name: &str) -> Result<(), Error> {
        self.delete(&format!("/v1/nodes/{name}"))
    }

    /// Ends the session.
    pub fn sign_out(self) -> Result<(), Error> {
        self.delete("/v1/session")
    }

    fn delete(&self, path: &str) -> Result<(), Error> {
        let call = self.agent.delete(self.address(path)).header("cookie", &self.cookie);
        let mut response = call.header(CSRF_HEADER, &self.csrf).call().map_err(|why| self.unreachable(&why))?;
        read(&self.url, &mut response).map(drop)
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn unreachable(&self, why: &ureq::Error) -> Error {
        Error::Unreachable(format!("{}: {why}", self.url))
    }
}

/// Who answers at the address of an account server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answering {
    AccountServer,
    /// Somebody who cannot prove to be it, or speaks of something else: what captive portals do.
    SomebodyElse(String),
    Nobody(String),
}

/// Asks who answers at an address, for at most so long.
pub fn who_answers(url: &str, ca: Option<&Path>, patience: Duration) -> Result<Answering, Error> {
    #[derive(Deserialize)]
    struct WellKnown {
        #[serde(rename = "domain_key")]
        _domain_key: String,
    }
    let (agent, url) = connect(url, ca, patience)?;
    Ok(match agent.get(format!("{url}/.well-known/ntmobile")).call() {
        Ok(mut response) => match parse::<WellKnown>(&url, &mut response) {
            Ok(_) => Answering::AccountServer,
            Err(why) => Answering::SomebodyElse(why.to_string()),
        },
        Err(why @ (ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Http(_) | ureq::Error::Protocol(_))) => {
            Answering::SomebodyElse(why.to_string())
        }
        // What TLS found wrong while it connected comes wrapped.
        Err(ureq::Error::Io(why)) if why.kind() == std::io::ErrorKind::InvalidData => {
            Answering::SomebodyElse(why.to_string())
        }
        Err(why) => Answering::Nobody(why.to_string()),
    })
}

type Response = ureq::http::Response<ureq::Body>;

fn parse<T: DeserializeOwned>(url: &str, response: &mut Response) -> Result<T, Error> {
    serde_json::from_slice(&read(url, response)?).map_err(|_| Error::Malformed("the answer"))
}
