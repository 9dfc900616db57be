//! Calls of the local API that wait for the engine's answer, and the log of what came of them.

use std::collections::BTreeMap;

use log::{info, warn};
use tokio::sync::oneshot;

use crate::edge::api;
use crate::guard::Refusal;
use crate::guard::grants::{Answer, Ending, GrantId, GrantView, Opener};
use crate::lifecycle::effect::CallId;

#[derive(Debug, Default)]
pub struct Calls {
    last: u64,
    waiting: BTreeMap<CallId, (Opener, oneshot::Sender<api::Response>)>,
}

impl Calls {
    pub fn add(&mut self, opener: Opener, reply: oneshot::Sender<api::Response>) -> CallId {
        self.last += 1;
        let call = CallId(self.last);
        self.waiting.insert(call, (opener, reply));
        call
    }

    pub fn answer(&mut self, call: CallId, outcome: Result<Answer, Refusal>) {
        let Some((opener, reply)) = self.waiting.remove(&call) else { return };
        log_outcome(&opener, &outcome);
        // Who has hung up does not want to know.
        let _ = reply.send(api::Response::Grant(outcome));
    }
}

pub fn log_ended(id: GrantId, ending: Ending) {
    info!(GRANT_ID = id.to_string().as_str(); "grant {id} {}", ending.as_str());
}

fn log_outcome(opener: &Opener, outcome: &Result<Answer, Refusal>) {
    match outcome {
        Ok(Answer::Grant(view)) => {
            info!(GRANT_ID = view.id.to_string().as_str(); "{}", describe(opener, view));
        }
        Ok(Answer::Revoked(ids)) => info!("{opener} revoked grants: {}", ids.len()),
        Err(Refusal { code, message }) => {
            warn!(CODE = code.as_str(); "{opener} was refused a change of grants: {message}");
        }
    }
}

/// `grant 7f3a9c21-1 is open, by operator 1000: risk flight, 5 commands, 600 s`
fn describe(opener: &Opener, view: &GrantView) -> String {
    let scopes: Vec<String> = view.scopes.iter().map(ToString::to_string).collect();
    let issuer = view.issuer.as_ref().map(|it| format!(" of {it}")).unwrap_or_default();
    let reason = view.reason.as_ref().map(|it| format!(", because: {it}")).unwrap_or_default();
    format!(
        "grant {} is {}, by {opener}: {}, {} commands{issuer}, {} s{reason}",
        view.id,
        view.state.as_str(),
        scopes.join(", "),
        view.count_left,
        view.time_left.as_secs(),
    )
}
