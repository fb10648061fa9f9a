//! What comes over HTTPS: the JSON API, the page, and what holds for both.
//!
//! ```text
//! connection ─▶ TLS 1.3 ─▶ rate of the address ─▶ route ─▶ body (bounded, timed) ─▶ session, CSRF ─▶ App
//! (serve)      (serve)      (this file)                     (request)                (request)
//! ```

mod api;
mod page;
mod request;
mod serve;
mod validity;
mod views;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use ntm_login::message::ErrorAnswer;
use ntm_server::clock::unix_now;

use crate::app::App;
use crate::refusal::{Code, Refusal};

pub(crate) use api::parse_name;
pub use request::{COOKIE, MAX_BODY, Peer};
pub use serve::{Listening, Timeouts, TlsFiles, serve};

/// How long a request may take altogether; a long poll is the longest.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// A verb, a path, and who answers.
pub type Route = (&'static str, &'static str, MethodRouter<Arc<App>>);

/// The routes of the JSON API, which `docs/api/as.openapi.json` describes one by one.
pub fn api_routes() -> Vec<Route> {
    api::routes()
}

/// The routes of the page.
pub fn page_routes() -> Vec<Route> {
    page::routes()
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (_, path, answer) in api_routes().into_iter().chain(page_routes()) {
        router = router.route(path, answer);
    }
    router
        .fallback(async || Refusal::not_found("page"))
        .method_not_allowed_fallback(async || Refusal::new(Code::Method, "this address does not take that verb"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&app), around))
        .with_state(app)
}

/// What happens around every request.
async fn around(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    app.counters.request();
    let from = request.extensions().get::<Peer>().map(|peer| peer.0);
    let html = request.uri().path().strip_prefix("/v1/").is_none();
    let permitted = from.map_or(Ok(()), |from| app.guard.request(Instant::now(), from));
    // The body is read whatever comes of it: a connection with an unread one could not go on.
    let (parts, body) = request.into_parts();
    let mut response = match (request::read_body(body).await, permitted) {
        (Err(refusal), _) => {
            let mut response = refusal.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        (Ok(_), Err(refusal)) => refusal.into_response(),
        (Ok(body), Ok(())) => {
            let answer = next.run(Request::from_parts(parts, Body::from(body)));
            let late = || Refusal::new(Code::TooSlow, "the request took too long").into_response();
            tokio::time::timeout(REQUEST_TIMEOUT, answer).await.unwrap_or_else(|_| late())
        }
    };
    if response.status().is_client_error() && response.extensions().get::<Code>().is_none() {
        // What the router itself does not understand of an address.
        response = Refusal::invalid("the address is not understood").into_response();
    }
    if let Some(refused) = response.extensions().get::<Code>() {
        app.counters.refused(*refused);
    }
    let headers = response.headers_mut();
    let fixed: [(_, &'static str); 6] = [
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // `no-referrer` would make browsers hide the origin of the page's own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, if html { PAGE_POLICY } else { API_POLICY }),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The page loads its own style sheet and icon and nothing else; nobody frames it; forms go nowhere else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                           frame-ancestors 'none'";
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let now = (self.code == Code::Clock).then(|| unix_now().as_millis());
        let answer = ErrorAnswer { error: self.code.word().to_owned(), message: self.message, now };
        let mut response = (status, axum::Json(answer)).into_response();
        if let Some(wait) = self.retry_after {
            // Rounded up: who comes a moment early would be refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self.code);
        response
    }
}
