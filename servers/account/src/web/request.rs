//! What is taken out of a request, and what is believed of it.
//!
//! A browser sends the cookie along with whatever page makes it ask, so a change under a session needs two things
//! more: an origin that is this server, and the word that only this server's pages know. Signing up and in have no
//! session yet; the origin alone guards them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt as _;
use ntm_proto::crypto;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::authority::{Caller, csrf_word};
use crate::refusal::{Code, Refusal};

/// The cookie's name: browsers take it from this host over TLS only, for all of it.
pub const COOKIE: &str = "__Host-ntm";
/// What a request's body may weigh.
pub const MAX_BODY: usize = 16 * 1024;
/// What is read of a larger one before it is refused.
const MAX_DISCARDED: usize = 256 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Where scripts put the word that [`csrf_word`] makes.
const CSRF_HEADER: &str = "x-csrf-token";

/// Takes a body whole, if it is small and comes soon.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(Code::TooLarge, format!("a body has at most {MAX_BODY} bytes"));
    // What says that it is far too large need not be read to be believed.
    if body.size_hint().lower() > MAX_DISCARDED as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, read_frames(body)).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(too_large()),
        Err(_) => Err(Refusal::new(Code::TooSlow, "the body took too long")),
    }
}

/// The whole of a body; none where it is too large or breaks off. One that is only a little too large is read to its
/// end, because a client that cannot send what it has does not read the refusal.
async fn read_frames(mut body: Body) -> Option<Bytes> {
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length += data.len();
        if length > MAX_DISCARDED {
            return None;
        }
        if length <= MAX_BODY {
            kept.extend_from_slice(&data);
        }
    }
    (length <= MAX_BODY).then(|| kept.into())
}

/// The address a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl FromRequestParts<Arc<App>> for Peer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Self>().copied();
        peer.ok_or_else(|| Refusal::new(Code::Internal, "the request came from nowhere"))
    }
}

/// The token in the cookie, whatever it is worth.
#[derive(Clone, Debug)]
pub(super) struct Cookie(pub(super) Option<String>);

impl FromRequestParts<Arc<App>> for Cookie {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        Ok(Self(token(&parts.headers)))
    }
}

/// A live session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) caller: Caller,
    pub(super) token: String,
}

impl Session {
    /// Whether `word` is the one that this session's pages carry.
    pub(super) fn check_word(&self, word: &str) -> Result<(), Refusal> {
        if crypto::equal(word.as_bytes(), csrf_word(&self.token).as_bytes()) { Ok(()) } else { Err(cross_site()) }
    }
}

impl FromRequestParts<Arc<App>> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let signed_out = || Refusal::new(Code::SignedOut, "sign in first");
        let Peer(from) = Peer::from_request_parts(parts, app).await?;
        let token = token(&parts.headers).ok_or_else(signed_out)?;
        let asked = token.clone();
        let caller = app.ask(move |authority| authority.session(&asked, from.to_string())).await?;
        Ok(Self { caller: caller.ok_or_else(signed_out)?, token })
    }
}

/// A live session that may change something: the request comes from this server's own pages or scripts.
#[derive(Clone, Debug)]
pub(super) struct Changing(pub(super) Session);

impl FromRequestParts<Arc<App>> for Changing {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        OwnSite::from_request_parts(parts, app).await?;
        let session = Session::from_request_parts(parts, app).await?;
        let word = parts.headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        session.check_word(word)?;
        Ok(Self(session))
    }
}

/// A live session of an administrator.
#[derive(Clone, Debug)]
pub(super) struct Admin(pub(super) Session);

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        admin(Session::from_request_parts(parts, app).await?).map(Self)
    }
}

/// A live session of an administrator that may change something.
#[derive(Clone, Debug)]
pub(super) struct ChangingAdmin(pub(super) Session);

impl FromRequestParts<Arc<App>> for ChangingAdmin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Changing(session) = Changing::from_request_parts(parts, app).await?;
        admin(session).map(Self)
    }
}

fn admin(session: Session) -> Result<Session, Refusal> {
    if session.caller.admin { Ok(session) } else { Err(Refusal::new(Code::NotAllowed, "administrators only")) }
}

/// The request was not made by another site's page. Programs that are no browsers say nothing of it and may pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnSite;

impl FromRequestParts<Arc<App>> for OwnSite {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let text = |name: header::HeaderName| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(header::HOST).unwrap_or_default();
        let own_origin = text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("https://") == Some(host));
        let site = text(header::HeaderName::from_static("sec-fetch-site"));
        let own_site = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
        if own_origin && own_site { Ok(Self) } else { Err(cross_site()) }
    }
}

/// A body of JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Refusal> {
        check_kind(request.headers(), "application/json")?;
        let body = read_body(request.into_body()).await?;
        serde_json::from_slice(&body)
            .map(Self)
            // The position, not the content: that may be a password.
            .map_err(|why| Refusal::invalid(format!("the body is not what this takes: {}", describe(&why))))
    }
}

/// A body as forms send it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Form<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        check_kind(request.headers(), "application/x-www-form-urlencoded")?;
        let form = axum::Form::<T>::from_request(request, app).await;
        form.map(|form| Self(form.0)).map_err(|_| Refusal::invalid("the form is incomplete"))
    }
}

fn check_kind(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = kind.split(';').next().unwrap_or_default().trim();
    if plain.eq_ignore_ascii_case(wanted) {
        Ok(())
    } else {
        Err(Refusal::invalid(format!("the body must be {wanted}")))
    }
}

fn describe(why: &serde_json::Error) -> String {
    let matter = match why.classify() {
        serde_json::error::Category::Data => "a field is missing, unknown or of the wrong kind",
        _ => "it is not JSON",
    };
    format!("{matter} (line {}, column {})", why.line(), why.column())
}

fn token(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('=').map(str::to_owned))
}

fn cross_site() -> Refusal {
    Refusal::new(Code::CrossSite, "the request does not come from this server's own page")
}
