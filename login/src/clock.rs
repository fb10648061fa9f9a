//! The calendar, by which tickets and certificates end.

use std::time::{SystemTime, UNIX_EPOCH};

use ntm_proto::time::UnixTime;

/// The host's calendar clock.
pub fn unix_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
