//! Why the server does not do what it was asked: one list for the API, the page, the operator's socket and the
//! counters.

use std::fmt;
use std::time::Duration;

use crate::store::StoreError;

/// The kind of a refusal, by which programs tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is not what the API takes.
    Invalid,
    /// The clocks of the two ends differ too much.
    Clock,
    /// Wrong account, password or enrolment key; never says which.
    Credentials,
    /// There is no session, or it is over.
    SignedOut,
    /// A browser was sent here by another site.
    CrossSite,
    /// Not this account's to do.
    NotAllowed,
    /// Sign-up is closed.
    Closed,
    /// The node's id was revoked.
    Revoked,
    NotFound,
    Method,
    /// The request did not arrive in time.
    TooSlow,
    /// The name belongs to somebody else.
    Taken,
    /// The node has another name by now.
    Renamed,
    /// This renewal was seen before.
    Replayed,
    /// The account has as many as it may have.
    Full,
    TooLarge,
    /// Asked too often, or guessed too often.
    TooMany,
    Internal,
    /// More password hashes are waiting than the server takes on.
    Busy,
    /// The store does not work.
    Unavailable,
}

impl Code {
    pub const ALL: [Self; 20] = [
        Self::Invalid,
        Self::Clock,
        Self::Credentials,
        Self::SignedOut,
        Self::CrossSite,
        Self::NotAllowed,
        Self::Closed,
        Self::Revoked,
        Self::NotFound,
        Self::Method,
        Self::TooSlow,
        Self::Taken,
        Self::Renamed,
        Self::Replayed,
        Self::Full,
        Self::TooLarge,
        Self::TooMany,
        Self::Internal,
        Self::Busy,
        Self::Unavailable,
    ];

    /// The word that the API gives, and the label of the counter.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::SignedOut => "signed_out",
            Self::CrossSite => "cross_site",
            Self::NotAllowed => "not_allowed",
            Self::Closed => "closed",
            Self::Revoked => "revoked",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::TooSlow => "too_slow",
            Self::Taken => "taken",
            Self::Renamed => "renamed",
            Self::Replayed => "replayed",
            Self::Full => "full",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Internal => "internal",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status of the HTTP answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid | Self::Clock => 400,
            Self::Credentials | Self::SignedOut => 401,
            Self::CrossSite | Self::NotAllowed | Self::Closed | Self::Revoked => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::TooSlow => 408,
            Self::Taken | Self::Renamed | Self::Replayed | Self::Full => 409,
            Self::TooLarge => 413,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Busy | Self::Unavailable => 503,
        }
    }
}

/// A refusal, as its receiver may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// The one answer to every wrong account, password and enrolment key.
    pub fn credentials() -> Self {
        Self::new(Code::Credentials, "wrong account or secret")
    }

    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.max(Duration::from_secs(1)));
        self
    }
}

impl From<StoreError> for Refusal {
    /// What the store complains about is for the log; strangers learn that it fails.
    fn from(why: StoreError) -> Self {
        tracing::error!("{why}");
        Self::new(Code::Unavailable, "the server cannot reach its store").retry_after(Duration::from_secs(5))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
