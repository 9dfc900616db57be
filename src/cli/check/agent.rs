//! Whether an agent runs here, by its local API. While one does, port and journal are its own.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::edge::api::client::{self, Answer, Method};
use crate::wire::status::AgentStatus;

const ITEM: &str = "local API";

/// What answered on the socket.
#[derive(Debug)]
pub enum Agent {
    Runs(Box<AgentStatus>),
    /// Nobody listens there.
    Absent,
    /// Somebody may; why that is not known.
    Unknown(String),
}

/// Asks for the status. Blocks for up to 10 s.
pub fn gather(socket: &Path) -> Agent {
    match client::call(socket, Method::GET, "/api/v1/status", "") {
        Ok(Answer { success: true, body }) => match serde_json::from_slice(&body) {
            Ok(status) => Agent::Runs(Box::new(status)),
            Err(error) => Agent::Unknown(format!("its status is not understood: {error}")),
        },
        Ok(Answer { success: false, .. }) => Agent::Unknown("it does not tell its status".into()),
        Err(client::Error::NobodyListens(_)) => Agent::Absent,
        Err(error) => Agent::Unknown(error.to_string()),
    }
}

pub fn judge(socket: &Path, agent: &Agent) -> Finding {
    let socket = PathBuf::from(socket);
    match agent {
        Agent::Runs(status) => Finding::ok(
            ITEM,
            format!(
                "downlinkd {} runs and answers on {}; port and journal are its own",
                status.version,
                socket.display()
            ),
        ),
        Agent::Absent => {
            Finding::ok(ITEM, format!("no agent runs: nobody listens on {}", socket.display()))
        }
        Agent::Unknown(why) => Finding::warning(
            ITEM,
            why.clone(),
            "whether an agent runs is not known, so its journal and its port may be in use; join \
             the operators: sudo adduser \"$USER\" downlinkd",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn absent_is_no_trouble_and_unknown_is() {
        let socket = Path::new("/run/x.sock");
        assert_eq!(judge(socket, &Agent::Absent).level, Level::Ok);
        let unknown = judge(socket, &Agent::Unknown("permission denied".into()));
        assert_eq!(unknown.level, Level::Warning);
        assert_eq!(unknown.found, "permission denied");
    }
}
