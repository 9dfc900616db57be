//! What agents leave on a broker that is not the bench's own: a retained presence, and a session.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::bench::client::{Publisher, PublisherError};

/// For all of them: a broker that has gone keeps what it has.
const LIMIT: Duration = Duration::from_secs(10);

/// Takes them away once the agents of these presence topics have ended; waits for it.
pub fn clear(broker: SocketAddr, agents: &[(String, String)]) {
    // Who ends may be in the middle of a runtime, where none of its own can wait.
    thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            // What cannot be taken away is no matter of what was measured.
            let _ = runtime.block_on(async { timeout(LIMIT, clear_all(broker, agents)).await });
        });
    });
}

async fn clear_all(broker: SocketAddr, agents: &[(String, String)]) -> Result<(), PublisherError> {
    for (client_id, presence) in agents {
        let (sender, mut cleared) = mpsc::unbounded_channel();
        // Under the agent's name: its session is over then, and its last will has been told.
        let filters = vec![presence.clone()];
        let publisher = Publisher::connect(broker, client_id, filters, move |message| {
            if message.is_ok_and(|message| message.payload.is_empty()) {
                let _ = sender.send(());
            }
        })
        .await?;
        publisher.clear(presence).await?;
        cleared.recv().await;
    }
    Ok(())
}
