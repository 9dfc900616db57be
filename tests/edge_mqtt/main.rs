//! The MQTT adapter against a real mosquitto, and against a broker by hand for what mosquitto does
//! not do.

mod agent;
mod broker;
mod certificates;
mod connection;
mod delivery;
mod failover;
mod fake;
mod peer;
mod proxy;
mod publishing;
mod setups;
mod tls;

use std::time::Duration;

use tokio::time::Instant;

/// Long enough for a loaded machine; only a failing test waits for it.
const SOON: Duration = Duration::from_secs(60);

/// The future's value, or a failure if it does not come.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it did not come in time")
}

/// Polls until there is a value.
async fn within<T>(time: Duration, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(value) = poll().await {
            return value;
        }
        assert!(Instant::now() < deadline, "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Formats every log record of every crate, as a daemon at level debug does: nothing that a broker
/// sends may panic in there.
fn format_all_logs() {
    struct Formatting;
    impl log::Log for Formatting {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            std::hint::black_box(record.args().to_string());
        }
        fn flush(&self) {}
    }
    // Another test of this process may have been first.
    let _ = log::set_logger(&Formatting);
    log::set_max_level(log::LevelFilter::Trace);
}
