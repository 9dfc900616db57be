//! One link's port, who else talks on it, and what comes in by it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::Finding;
use super::{bounded, console, modem_manager, port};
use crate::edge::link::Endpoint;
use crate::edge::link::probe::{self, Heard, Question};
use crate::guard::autopilot::Autopilot;

/// Three heartbeats.
const LISTEN: Duration = Duration::from_secs(3);

/// What must hold whether or not an agent has the port.
pub async fn look_around(endpoint: &Endpoint) -> Vec<Finding> {
    match path(endpoint).filter(|path| path.exists()) {
        Some(path) => bounded(move || others_on(&path)).await.unwrap_or_default(),
        None => Vec::new(),
    }
}

/// Opens the port and listens; `None`: that could not be done, which is among the findings.
pub async fn listen(
    endpoint: &Endpoint,
    target: Autopilot,
    question: Option<Question>,
) -> (Vec<Finding>, Option<Heard>) {
    let mut port = match path(endpoint) {
        Some(path) => bounded(move || port::gather(&path)).await,
        None => None,
    };
    if let Some(port) = port.as_ref().filter(|port| !port.is_promising()) {
        return (vec![port::judge(port)], None);
    }
    let heard = probe::listen(endpoint, target, LISTEN, question).await;
    if let (Some(port), Err(trouble)) = (&mut port, &heard) {
        port.trouble = Some(trouble.clone());
    }
    let finding = match (&port, &heard) {
        (Some(port), _) => Some(port::judge(port)),
        // Without a port of its own to blame.
        (None, Err(trouble)) => Some(Finding::failure(
            "link",
            trouble.clone(),
            "look at its endpoint, and who else uses it",
        )),
        (None, Ok(_)) => None,
    };
    (finding.into_iter().collect(), heard.ok())
}

/// What an agent that runs says of a link. `hears`, `misses`: of which HEARTBEATs, with the verb.
pub fn judge_status(
    item: &'static str,
    state: &str,
    endpoint: &str,
    hears: &str,
    misses: &str,
) -> Finding {
    match state {
        "ready" => Finding::ok(item, format!("the agent {hears} on {endpoint}")),
        "open" => Finding::failure(
            item,
            format!("the agent has {endpoint} open and {misses}"),
            "stop the agent and check again, which then listens itself",
        ),
        _ => Finding::failure(
            item,
            format!("the agent cannot open {endpoint}"),
            "journalctl --unit downlinkd says why",
        ),
    }
}

fn path(endpoint: &Endpoint) -> Option<PathBuf> {
    match endpoint {
        Endpoint::Serial { path, .. } => Some(PathBuf::from(path)),
        Endpoint::UdpIn { .. } | Endpoint::TcpOut { .. } => None,
    }
}

fn others_on(path: &Path) -> Vec<Finding> {
    let modem_manager = modem_manager::gather(path).map(modem_manager::judge);
    std::iter::once(console::judge(&console::gather(path))).chain(modem_manager).collect()
}
