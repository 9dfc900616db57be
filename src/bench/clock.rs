//! This machine's clock, as publishers and vehicles tell the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970. A clock before that is refused like every wrong one.
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
