//! The JSON API. `docs/api/as.md` explains it, `docs/api/as.openapi.json` describes it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use ntm_login::message::{LoginRequest, RenewalRequest};
use ntm_proto::id::Fqdn;
use ntm_server::credentials::Request as ServerRequest;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Route;
use super::request::{Admin, COOKIE, Changing, ChangingAdmin, Cookie, Json, OwnSite, Peer, Session};
use crate::app::App;
use crate::authority::{AccountChange, NewKey, NewSession, csrf_word};
use crate::records::{Account, EnrolmentKey, Node, Server};
use crate::refusal::Refusal;

/// Lines in one answer.
const MAX_PAGE: usize = 1_000;

type Answer = Result<Response, Refusal>;

pub(super) fn routes() -> Vec<Route> {
    vec![
        ("GET", "/.well-known/ntmobile", get(well_known)),
        ("POST", "/v1/accounts", post(sign_up)),
        ("POST", "/v1/session", post(sign_in)),
        ("GET", "/v1/session", get(session)),
        ("DELETE", "/v1/session", delete(sign_out)),
        ("PUT", "/v1/password", put(change_password)),
        ("GET", "/v1/nodes", get(nodes)),
        ("PATCH", "/v1/nodes/{name}", patch(rename_node)),
        ("DELETE", "/v1/nodes/{name}", delete(revoke_node)),
        ("GET", "/v1/enrolment-keys", get(keys)),
        ("POST", "/v1/enrolment-keys", post(add_key)),
        ("DELETE", "/v1/enrolment-keys/{id}", delete(remove_key)),
        ("POST", "/v1/login", post(login)),
        ("POST", "/v1/tickets", post(renew)),
        ("GET", "/v1/servers/{name}/credentials", get(credentials)),
        ("GET", "/v1/revocations", get(revocations)),
        ("GET", "/v1/admin/accounts", get(accounts)),
        ("PATCH", "/v1/admin/accounts/{name}", patch(change_account)),
        ("GET", "/v1/admin/servers", get(servers)),
        ("POST", "/v1/admin/servers", post(add_server)),
        ("DELETE", "/v1/admin/servers/{name}", delete(remove_server)),
        ("GET", "/v1/admin/audit", get(audit)),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    account: String,
    password: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Passwords {
    old: Zeroizing<String>,
    new: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewName {
    name: String,
}

#[derive(Deserialize)]
struct Poll {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
}

#[derive(Deserialize)]
struct AccountsAfter {
    #[serde(default)]
    after: String,
}

#[derive(Deserialize)]
struct Before {
    before: Option<u64>,
}

async fn well_known(State(app): State<Arc<App>>) -> Answer {
    let (directions, key) = app.ask(|authority| Ok((authority.directions()?, authority.domain_key()))).await?;
    let answer = json!({
        "domain": app.authority.domain().as_str(),
        "domain_key": key,
        "directions": directions,
        "account_server": app.authority.rules().url,
    });
    Ok(axum::Json(answer).into_response())
}

async fn sign_up(State(app): State<Arc<App>>, Peer(from): Peer, _: OwnSite, Json(body): Json<Credentials>) -> Answer {
    app.sign_up(from, &body.account, body.password).await?;
    let name = crate::authority::account_name(&body.account)?;
    Ok((StatusCode::CREATED, axum::Json(json!({ "account": name }))).into_response())
}

async fn sign_in(
    State(app): State<Arc<App>>,
    Peer(from): Peer,
    _: OwnSite,
    Cookie(old): Cookie,
    Json(body): Json<Credentials>,
) -> Answer {
    let (caller, session) = app.sign_in(from, &body.account, body.password, old).await?;
    let answer = json!({
        "account": caller.account,
        "admin": session.admin,
        "csrf": csrf_word(&session.token),
        "expires": session.expires,
    });
    Ok((cookie(&session), axum::Json(answer)).into_response())
}

async fn session(session: Session) -> Answer {
    let Session { caller, token } = session;
    let answer = json!({ "account": caller.account, "admin": caller.admin, "csrf": csrf_word(&token) });
    Ok(axum::Json(answer).into_response())
}

async fn sign_out(State(app): State<Arc<App>>, Changing(session): Changing) -> Answer {
    app.ask(move |authority| authority.sign_out(&session.token)).await?;
    Ok((StatusCode::NO_CONTENT, no_cookie()).into_response())
}

async fn change_password(
    State(app): State<Arc<App>>,
    Peer(from): Peer,
    Changing(session): Changing,
    Json(body): Json<Passwords>,
) -> Answer {
    app.change_password(&session.caller, from, body.old, body.new).await?;
    Ok((StatusCode::NO_CONTENT, no_cookie()).into_response())
}

async fn nodes(State(app): State<Arc<App>>, session: Session) -> Answer {
    let nodes = app.ask(move |authority| authority.nodes(&session.caller.account)).await?;
    let nodes: Vec<_> = nodes.iter().map(|(name, node)| node_json(name, node)).collect();
    Ok(axum::Json(json!({ "nodes": nodes })).into_response())
}

async fn rename_node(
    State(app): State<Arc<App>>,
    Changing(session): Changing,
    Path(name): Path<String>,
    Json(body): Json<NewName>,
) -> Answer {
    let (name, to) = (parse_name(&name)?, parse_name(&body.name)?);
    let shown = to.to_string();
    let node = app.ask(move |authority| authority.rename(&session.caller, &name, &to)).await?;
    Ok(axum::Json(node_json(&shown, &node)).into_response())
}

async fn revoke_node(State(app): State<Arc<App>>, Changing(session): Changing, Path(name): Path<String>) -> Answer {
    let name = parse_name(&name)?;
    app.ask(move |authority| authority.revoke(&session.caller, &name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn keys(State(app): State<Arc<App>>, session: Session) -> Answer {
    let keys = app.ask(move |authority| authority.keys(&session.caller.account)).await?;
    let keys: Vec<_> = keys.iter().map(|(id, key)| key_json(id, key)).collect();
    Ok(axum::Json(json!({ "keys": keys })).into_response())
}

async fn add_key(State(app): State<Arc<App>>, Changing(session): Changing, Json(body): Json<NewKey>) -> Answer {
    let (id, secret, key) = app.ask(move |authority| authority.add_key(&session.caller, &body)).await?;
    let mut answer = key_json(&id, &key);
    answer["key"] = Value::from(secret.as_str());
    Ok((StatusCode::CREATED, axum::Json(answer)).into_response())
}

async fn remove_key(State(app): State<Arc<App>>, Changing(session): Changing, Path(id): Path<String>) -> Answer {
    let id = printable(id, "enrolment key")?;
    app.ask(move |authority| authority.remove_key(&session.caller, &id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn login(State(app): State<Arc<App>>, Peer(from): Peer, Json(body): Json<LoginRequest>) -> Answer {
    let ticketed = app.login(from, body).await?;
    let status = if ticketed.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(&ticketed.answer)).into_response())
}

async fn renew(State(app): State<Arc<App>>, Json(body): Json<RenewalRequest>) -> Answer {
    let ticketed = app.renew(body).await?;
    Ok(axum::Json(&ticketed.answer).into_response())
}

async fn credentials(State(app): State<Arc<App>>, Path(name): Path<String>, Query(poll): Query<Poll>) -> Answer {
    let name = parse_name(&name)?;
    let wait = Duration::from_secs(poll.wait.min(3600));
    let sealed = app.poll(wait, move |authority| authority.credentials(&name, poll.after)).await?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok(sealed.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |sealed| (kind, sealed).into_response()))
}

async fn revocations(State(app): State<Arc<App>>, Query(poll): Query<Poll>) -> Answer {
    let wait = Duration::from_secs(poll.wait.min(3600));
    let signed = app.poll(wait, move |authority| authority.revocations(poll.after)).await?;
    Ok(signed.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |signed| axum::Json(signed).into_response()))
}

async fn accounts(State(app): State<Arc<App>>, _: Admin, Query(query): Query<AccountsAfter>) -> Answer {
    let after = printable(query.after, "account")?;
    let accounts = app.ask(move |authority| authority.accounts(&after, MAX_PAGE)).await?;
    let accounts: Vec<_> = accounts.iter().map(|(name, account)| account_json(name, account)).collect();
    Ok(axum::Json(json!({ "accounts": accounts })).into_response())
}

async fn change_account(
    State(app): State<Arc<App>>,
    ChangingAdmin(session): ChangingAdmin,
    Path(name): Path<String>,
    Json(change): Json<AccountChange>,
) -> Answer {
    let name = crate::authority::account_name(&name)?;
    let shown = name.clone();
    let account = app.ask(move |authority| authority.change_account(&session.caller, &name, change)).await?;
    Ok(axum::Json(account_json(&shown, &account)).into_response())
}

async fn servers(State(app): State<Arc<App>>, _: Admin) -> Answer {
    let servers = app.ask(|authority| authority.servers()).await?;
    let servers: Vec<_> = servers.iter().map(|(name, server)| server_json(name, server)).collect();
    Ok(axum::Json(json!({ "servers": servers })).into_response())
}

async fn add_server(
    State(app): State<Arc<App>>,
    ChangingAdmin(session): ChangingAdmin,
    Json(body): Json<ServerRequest>,
) -> Answer {
    let sealed = app.ask(move |authority| authority.add_server(&session.caller, &body)).await?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((StatusCode::CREATED, kind, sealed).into_response())
}

async fn remove_server(
    State(app): State<Arc<App>>,
    ChangingAdmin(session): ChangingAdmin,
    Path(name): Path<String>,
) -> Answer {
    let name = parse_name(&name)?;
    app.ask(move |authority| authority.remove_server(&session.caller, &name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn audit(State(app): State<Arc<App>>, _: Admin, Query(query): Query<Before>) -> Answer {
    let lines = app.ask(move |authority| authority.audit_log(query.before, MAX_PAGE)).await?;
    let lines: Vec<_> = lines
        .iter()
        .map(|(number, entry)| {
            json!({
                "number": number, "at": entry.at, "who": entry.who, "what": entry.what, "about": entry.about,
                "from": entry.from,
            })
        })
        .collect();
    Ok(axum::Json(json!({ "entries": lines })).into_response())
}

/// Gives the browser its session. `SameSite=Strict`: no other site's link or form carries it.
pub(super) fn cookie(session: &NewSession) -> HeaderMap {
    set_cookie(&format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", *session.token))
}

/// Takes it away.
pub(super) fn no_cookie() -> HeaderMap {
    set_cookie(&format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"))
}

pub(crate) fn parse_name(text: &str) -> Result<Fqdn, Refusal> {
    Fqdn::parse(text).map_err(|why| Refusal::invalid(format!("this is no name: {why}")))
}

fn set_cookie(value: &str) -> HeaderMap {
    let value = HeaderValue::from_str(value).ok();
    value.map(|value| (header::SET_COOKIE, value)).into_iter().collect()
}

/// PostgreSQL takes no NUL, and no key has a control character.
fn printable(text: String, what: &str) -> Result<String, Refusal> {
    if text.chars().any(char::is_control) { Err(Refusal::not_found(what)) } else { Ok(text) }
}

fn node_json(name: &str, node: &Node) -> Value {
    json!({ "name": name, "id": node.id, "created": node.created, "seen": node.seen, "revoked": node.revoked })
}

fn key_json(id: &str, key: &EnrolmentKey) -> Value {
    json!({
        "id": id, "label": key.label, "left": key.left, "uses": key.uses, "created": key.created,
        "expires": key.expires,
    })
}

fn account_json(name: &str, account: &Account) -> Value {
    json!({ "account": name, "admin": account.admin, "disabled": account.disabled, "created": account.created })
}

fn server_json(name: &str, server: &Server) -> Value {
    let role = match server.request.role {
        ntm_proto::identity::Role::Direction => "direction",
        ntm_proto::identity::Role::Relay => "relay",
    };
    json!({
        "name": name, "role": role, "addresses": server.request.addresses, "version": server.version,
        "added": server.added, "relay": server.relay.as_ref().map(|relay| relay.id),
    })
}
