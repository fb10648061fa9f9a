//! The page's handlers: forms in, whole pages or a redirect out. All of it works without scripts.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Route;
use super::api::{cookie, no_cookie, parse_name};
use super::request::{Admin, Cookie, Form, OwnSite, Peer, Session};
use super::views::{Frame, Notice, Place};
use crate::app::App;
use crate::authority::{AccountChange, NewKey, account_name, csrf_word};
use crate::refusal::{Code, Refusal};

const STYLE: &str = include_str!("style.css");
const ICON: &str = include_str!("icon.svg");
/// Lines of a list on one page.
const LINES: usize = 200;

type Server = State<Arc<App>>;

pub(super) fn routes() -> Vec<Route> {
    vec![
        ("GET", "/", get(start)),
        ("GET", "/style.css", get(async || asset("text/css; charset=utf-8", STYLE))),
        ("GET", "/icon.svg", get(async || asset("image/svg+xml", ICON))),
        ("GET", "/sign-in", get(sign_in_form)),
        ("POST", "/sign-in", post(sign_in)),
        ("GET", "/sign-up", get(sign_up_form)),
        ("POST", "/sign-up", post(sign_up)),
        ("POST", "/sign-out", post(sign_out)),
        ("GET", "/nodes", get(nodes)),
        ("POST", "/nodes/revoke", post(revoke)),
        ("POST", "/nodes/rename", post(rename)),
        ("GET", "/keys", get(keys)),
        ("POST", "/keys", post(add_key)),
        ("POST", "/keys/remove", post(remove_key)),
        ("GET", "/account", get(account)),
        ("POST", "/account/password", post(change_password)),
        ("GET", "/admin/accounts", get(accounts)),
        ("POST", "/admin/accounts", post(change_account)),
        ("GET", "/admin/servers", get(servers)),
        ("POST", "/admin/servers/remove", post(remove_server)),
        ("GET", "/admin/audit", get(audit)),
    ]
}

/// What a page is answered with: itself, or a refusal shown as a page.
type Page = Result<Response, PageRefusal>;

/// A refusal for people. Who is signed out is led to the sign-in.
#[derive(Debug)]
struct PageRefusal(Refusal);

impl From<Refusal> for PageRefusal {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for PageRefusal {
    fn into_response(self) -> Response {
        if self.0.code == Code::SignedOut {
            return Redirect::to("/sign-in").into_response();
        }
        let frame = Frame { domain: "Account server", caller: None, csrf: "", place: Place::Outside, notice: None };
        let message = super::views::escape(&self.0.message);
        let body = format!(
            "<div class=\"narrow\"><h1>This did not work</h1><div class=\"notice bad\" role=\"alert\">{message}</div>\
             <p><a href=\"/\">Back to the start</a></p></div>"
        );
        refused(self.0, frame.page("Error", &body))
    }
}

/// A page with the status and headers of a refusal.
fn refused(refusal: Refusal, page: String) -> Response {
    let as_api = refusal.into_response();
    let mut response = html(page);
    *response.status_mut() = as_api.status();
    if let Some(wait) = as_api.headers().get(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    if let Some(code) = as_api.extensions().get::<Code>() {
        response.extensions_mut().insert(*code);
    }
    response
}

fn html(page: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], page).into_response()
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, content).into_response()
}

/// A session for a page; refusals become pages.
struct Signed(Session);

impl axum::extract::FromRequestParts<Arc<App>> for Signed {
    type Rejection = PageRefusal;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &Arc<App>) -> Result<Self, PageRefusal> {
        Ok(Self(Session::from_request_parts(parts, app).await?))
    }
}

/// The same for administrators.
struct SignedAdmin(Session);

impl axum::extract::FromRequestParts<Arc<App>> for SignedAdmin {
    type Rejection = PageRefusal;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &Arc<App>) -> Result<Self, PageRefusal> {
        let Admin(session) = Admin::from_request_parts(parts, app).await?;
        Ok(Self(session))
    }
}

/// A form that another site's page cannot send.
struct Sent<T>(T);

impl<T: serde::de::DeserializeOwned> axum::extract::FromRequest<Arc<App>> for Sent<T> {
    type Rejection = PageRefusal;

    async fn from_request(request: axum::extract::Request, app: &Arc<App>) -> Result<Self, PageRefusal> {
        use axum::extract::FromRequestParts as _;
        let (mut parts, body) = request.into_parts();
        OwnSite::from_request_parts(&mut parts, app).await?;
        let Form(form) = Form::from_request(axum::extract::Request::from_parts(parts, body), app).await?;
        Ok(Self(form))
    }
}

fn frame<'a>(app: &'a App, session: &'a Session, csrf: &'a str, place: Place, notice: Option<&'a Notice>) -> Frame<'a> {
    Frame { domain: app.authority.domain().as_str(), caller: Some(&session.caller), csrf, place, notice }
}

fn outside<'a>(app: &'a App, notice: Option<&'a Notice>) -> Frame<'a> {
    Frame { domain: app.authority.domain().as_str(), caller: None, csrf: "", place: Place::Outside, notice }
}

async fn start(session: Result<Signed, PageRefusal>) -> Redirect {
    Redirect::to(if session.is_ok() { "/nodes" } else { "/sign-in" })
}

#[derive(Deserialize)]
struct Credentials {
    account: String,
    password: Zeroizing<String>,
}

async fn sign_in_form(State(app): Server) -> Response {
    html(outside(&app, None).sign_in("", app.authority.rules().sign_up.open))
}

async fn sign_in(State(app): Server, Peer(from): Peer, Cookie(old): Cookie, Sent(form): Sent<Credentials>) -> Response {
    match app.sign_in(from, &form.account, form.password, old).await {
        Ok((_, session)) => (cookie(&session), Redirect::to("/nodes")).into_response(),
        Err(refusal) => {
            let notice = Notice::Bad(explained(&refusal));
            let page = outside(&app, Some(&notice)).sign_in(&form.account, app.authority.rules().sign_up.open);
            refused(refusal, page)
        }
    }
}

async fn sign_up_form(State(app): Server) -> Page {
    if !app.authority.rules().sign_up.open {
        return Err(Refusal::new(Code::Closed, "Sign-up is closed: ask the operator for an account.").into());
    }
    Ok(html(outside(&app, None).sign_up("")))
}

async fn sign_up(State(app): Server, Peer(from): Peer, Cookie(old): Cookie, Sent(form): Sent<Credentials>) -> Response {
    let signed_up = app.sign_up(from, &form.account, form.password.clone()).await;
    let outcome = match signed_up {
        Ok(()) => app.sign_in(from, &form.account, form.password, old).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok((_, session)) => (cookie(&session), Redirect::to("/nodes")).into_response(),
        Err(refusal) => {
            let notice = Notice::Bad(explained(&refusal));
            refused(refusal, outside(&app, Some(&notice)).sign_up(&form.account))
        }
    }
}

#[derive(Deserialize)]
struct Word {
    csrf: String,
}

async fn sign_out(State(app): Server, Signed(session): Signed, Sent(form): Sent<Word>) -> Page {
    session.check_word(&form.csrf)?;
    app.ask(move |authority| authority.sign_out(&session.token)).await?;
    Ok((no_cookie(), Redirect::to("/sign-in")).into_response())
}

async fn nodes(State(app): Server, Signed(session): Signed) -> Page {
    show_nodes(&app, &session, None).await
}

async fn show_nodes(app: &App, session: &Session, notice: Option<Result<Notice, Refusal>>) -> Page {
    let (refusal, notice) = split(notice);
    let owner = session.caller.account.clone();
    let nodes = app.ask(move |authority| authority.nodes(&owner)).await?;
    let word = csrf_word(&session.token);
    let page = frame(app, session, &word, Place::Nodes, notice.as_ref()).nodes(&nodes);
    Ok(answer(refusal, page))
}

#[derive(Deserialize)]
struct NodeForm {
    csrf: String,
    name: String,
    #[serde(default)]
    to: String,
}

async fn revoke(State(app): Server, Signed(session): Signed, Sent(form): Sent<NodeForm>) -> Page {
    session.check_word(&form.csrf)?;
    let name = parse_name(&form.name)?;
    let said = Notice::Good(format!("{name} is revoked."));
    let by = session.caller.clone();
    let done = app.ask(move |authority| authority.revoke(&by, &name)).await;
    show_nodes(&app, &session, Some(done.map(|()| said))).await
}

async fn rename(State(app): Server, Signed(session): Signed, Sent(form): Sent<NodeForm>) -> Page {
    session.check_word(&form.csrf)?;
    let (name, to) = (parse_name(&form.name)?, parse_name(&form.to)?);
    let said = Notice::Good(format!("{name} is {to} from its next login on."));
    let by = session.caller.clone();
    let done = app.ask(move |authority| authority.rename(&by, &name, &to)).await;
    show_nodes(&app, &session, Some(done.map(|_| said))).await
}

async fn keys(State(app): Server, Signed(session): Signed) -> Page {
    show_keys(&app, &session, None).await
}

async fn show_keys(app: &App, session: &Session, notice: Option<Result<Notice, Refusal>>) -> Page {
    let (refusal, notice) = split(notice);
    let owner = session.caller.account.clone();
    let keys = app.ask(move |authority| authority.keys(&owner)).await?;
    let word = csrf_word(&session.token);
    Ok(answer(refusal, frame(app, session, &word, Place::Keys, notice.as_ref()).keys(&keys)))
}

#[derive(Deserialize)]
struct KeyForm {
    csrf: String,
    #[serde(default)]
    label: String,
    uses: u32,
    days: u32,
}

async fn add_key(State(app): Server, Signed(session): Signed, Sent(form): Sent<KeyForm>) -> Page {
    session.check_word(&form.csrf)?;
    let wanted = NewKey { label: form.label, uses: form.uses, days: form.days };
    let by = session.caller.clone();
    let made = app.ask(move |authority| authority.add_key(&by, &wanted)).await;
    show_keys(&app, &session, Some(made.map(|(_, key, _)| Notice::NewKey(key.to_string())))).await
}

#[derive(Deserialize)]
struct KeyId {
    csrf: String,
    id: String,
}

async fn remove_key(State(app): Server, Signed(session): Signed, Sent(form): Sent<KeyId>) -> Page {
    session.check_word(&form.csrf)?;
    let by = session.caller.clone();
    let done = app.ask(move |authority| authority.remove_key(&by, &form.id)).await;
    show_keys(&app, &session, Some(done.map(|()| Notice::Good("The key is removed.".into())))).await
}

async fn account(State(app): Server, Signed(session): Signed) -> Response {
    let word = csrf_word(&session.token);
    html(frame(&app, &session, &word, Place::Account, None).account())
}

#[derive(Deserialize)]
struct PasswordForm {
    csrf: String,
    old: Zeroizing<String>,
    new: Zeroizing<String>,
}

async fn change_password(
    State(app): Server,
    Peer(from): Peer,
    Signed(session): Signed,
    Sent(form): Sent<PasswordForm>,
) -> Page {
    session.check_word(&form.csrf)?;
    match app.change_password(&session.caller, from, form.old, form.new).await {
        Ok(()) => {
            let notice = Notice::Good("The password is changed: sign in with the new one.".into());
            let page = outside(&app, Some(&notice)).sign_in(&session.caller.account, false);
            Ok((no_cookie(), html(page)).into_response())
        }
        Err(refusal) => {
            let notice = Notice::Bad(explained(&refusal));
            let word = csrf_word(&session.token);
            let page = frame(&app, &session, &word, Place::Account, Some(&notice)).account();
            Ok(refused(refusal, page))
        }
    }
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: String,
}

async fn accounts(State(app): Server, SignedAdmin(session): SignedAdmin, Query(query): Query<After>) -> Page {
    show_accounts(&app, &session, query.after, None).await
}

async fn show_accounts(app: &App, session: &Session, after: String, notice: Option<Result<Notice, Refusal>>) -> Page {
    let (refusal, notice) = split(notice);
    let after = if after.is_empty() { after } else { account_name(&after)? };
    let accounts = app.ask(move |authority| authority.accounts(&after, LINES)).await?;
    let more = accounts.last().filter(|_| accounts.len() == LINES).map(|(name, _)| name.as_str());
    let word = csrf_word(&session.token);
    let page = frame(app, session, &word, Place::Accounts, notice.as_ref()).accounts(&accounts, more);
    Ok(answer(refusal, page))
}

#[derive(Deserialize)]
struct AccountForm {
    csrf: String,
    name: String,
    action: String,
}

async fn change_account(State(app): Server, SignedAdmin(session): SignedAdmin, Sent(form): Sent<AccountForm>) -> Page {
    session.check_word(&form.csrf)?;
    let change = match form.action.as_str() {
        "disable" => AccountChange { disabled: Some(true), admin: None },
        "enable" => AccountChange { disabled: Some(false), admin: None },
        "admin" => AccountChange { disabled: None, admin: Some(true) },
        "ordinary" => AccountChange { disabled: None, admin: Some(false) },
        _ => return Err(Refusal::invalid("there is no such action").into()),
    };
    let name = account_name(&form.name)?;
    let said = Notice::Good(format!("{name} is changed."));
    let by = session.caller.clone();
    let done = app.ask(move |authority| authority.change_account(&by, &name, change)).await;
    show_accounts(&app, &session, String::new(), Some(done.map(|_| said))).await
}

async fn servers(State(app): Server, SignedAdmin(session): SignedAdmin) -> Page {
    show_servers(&app, &session, None).await
}

async fn show_servers(app: &App, session: &Session, notice: Option<Result<Notice, Refusal>>) -> Page {
    let (refusal, notice) = split(notice);
    let servers = app.ask(|authority| authority.servers()).await?;
    let word = csrf_word(&session.token);
    Ok(answer(refusal, frame(app, session, &word, Place::Servers, notice.as_ref()).servers(&servers)))
}

async fn remove_server(State(app): Server, SignedAdmin(session): SignedAdmin, Sent(form): Sent<NodeForm>) -> Page {
    session.check_word(&form.csrf)?;
    let name = parse_name(&form.name)?;
    let said = Notice::Good(format!("{name} is removed."));
    let by = session.caller.clone();
    let done = app.ask(move |authority| authority.remove_server(&by, &name)).await;
    show_servers(&app, &session, Some(done.map(|()| said))).await
}

#[derive(Deserialize)]
struct Before {
    before: Option<u64>,
}

async fn audit(State(app): Server, SignedAdmin(session): SignedAdmin, Query(query): Query<Before>) -> Page {
    let lines = app.ask(move |authority| authority.audit_log(query.before, LINES)).await?;
    let more = lines.last().filter(|(number, _)| lines.len() == LINES && *number > 0).map(|(number, _)| *number);
    let word = csrf_word(&session.token);
    Ok(html(frame(&app, &session, &word, Place::Audit, None).audit(&lines, more)))
}

/// A page, with the status of what was refused if something was.
fn answer(refusal: Option<Refusal>, page: String) -> Response {
    match refusal {
        None => html(page),
        Some(refusal) => refused(refusal, page),
    }
}

fn split(outcome: Option<Result<Notice, Refusal>>) -> (Option<Refusal>, Option<Notice>) {
    match outcome {
        None => (None, None),
        Some(Ok(notice)) => (None, Some(notice)),
        Some(Err(refusal)) => {
            let said = Notice::Bad(explained(&refusal));
            (Some(refusal), Some(said))
        }
    }
}

/// A refusal as people read it, with when to try again.
fn explained(refusal: &Refusal) -> String {
    let mut text = refusal.message.clone();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    match refusal.retry_after {
        Some(wait) => format!("{text} (in {} s)", wait.as_secs().max(1)),
        None => format!("{text}."),
    }
}
