//! A timer that may be off, for a `select!`. Cancel-safe.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

/// `None` never comes.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
