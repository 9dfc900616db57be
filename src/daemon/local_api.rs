//! What the local API asks, and the log of what became of grants.

use std::collections::BTreeMap;

use log::{info, warn};
use tokio::sync::oneshot;

use super::Daemon;
use crate::catalog;
use crate::edge::api;
use crate::guard::Refusal;
use crate::guard::explain::Verdict;
use crate::guard::grants::{Answer, Ending, GrantId, GrantView, Opener};
use crate::lifecycle::effect::{CallId, ErrorReply, Input};
use crate::lifecycle::time::Now;
use crate::wire::explanation::{Explanation, Finding, Rehearsal};
use crate::wire::grant::Grant;
use crate::wire::status::{AgentStatus, BrokerStatus, ClockStatus, CommandCounts, LinkStatus};
use crate::wire::topic::VENDOR;

impl Daemon {
    pub(super) fn on_api(&mut self, request: api::Request) {
        let api::Request { uid, call, reply } = request;
        // A caller who has hung up does not want the answer.
        let _ = match call {
            api::Call::Status => reply.send(api::Response::Status(Box::new(self.status()))),
            api::Call::Grants => reply.send(api::Response::Grants(self.grants())),
            api::Call::Explain(rehearsal) => {
                reply.send(api::Response::Explanation(self.explain(&rehearsal)))
            }
            api::Call::Grant(action) => {
                let opener = Opener::Operator { uid };
                let call = self.calls.add(opener.clone(), reply);
                self.handle(Input::Grant { action, opener, call });
                return;
            }
        };
    }

    /// As they are shown.
    pub(super) fn grants(&self) -> Vec<Grant> {
        self.engine.grants().views(self.now().boot).iter().map(Grant::of).collect()
    }

    fn explain(&self, rehearsal: &Rehearsal) -> Result<Explanation, ErrorReply> {
        let now = self.now();
        let (request, authentic) = self.admission.rehearse(self.engine.guard(), rehearsal, &now)?;
        let mut layers = self.engine.explain(&now, &request);
        if let Err(refusal) = authentic {
            layers[0].1 = Verdict::Refuses(refusal);
        }
        Ok(Explanation {
            issuer: request.api_id,
            command_type: request.command.command_type.to_owned(),
            layers: layers.into_iter().map(|(layer, it)| Finding::of(layer, it)).collect(),
        })
    }

    fn status(&self) -> AgentStatus {
        let Now { wall, wall_trusted, .. } = self.now();
        AgentStatus {
            vendor: VENDOR.to_owned(),
            device_id: self.device_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: self.session,
            guard_mode: self.engine.guard().mode().as_str().to_owned(),
            link: LinkStatus {
                state: self.engine.link_state().as_str().to_owned(),
                endpoint: self.endpoint.clone(),
            },
            broker: BrokerStatus {
                connected: self.broker.is_some(),
                address: self.broker.as_ref().unwrap_or(&self.brokers).clone(),
            },
            clock: ClockStatus { trusted: wall_trusted, time: wall },
            commands: CommandCounts {
                queued: self.engine.queued(),
                outstanding: self.engine.outstanding(),
                unpublished: self.engine.unpublished(),
            },
            grants: self.grants(),
            refusals: self.refusals.iter().map(|(code, n)| (code.as_str().into(), n)).collect(),
            catalog_hash: catalog::HASH.to_owned(),
        }
    }
}

/// Calls that wait for the engine's answer.
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
        match &outcome {
            Ok(answer) => log_answer(&opener, answer),
            Err(Refusal { code, message }) => {
                warn!(CODE = code.as_str(); "{opener} was refused a change of grants: {message}");
            }
        }
        // Who has hung up does not want to know.
        let _ = reply.send(api::Response::Grant(outcome));
    }
}

pub fn log_ended(id: GrantId, ending: Ending) {
    info!(GRANT_ID = id.to_string().as_str(); "grant {id} {}", ending.as_str());
}

pub fn log_answer(opener: &Opener, answer: &Answer) {
    match answer {
        Answer::Grant(view) => {
            info!(GRANT_ID = view.id.to_string().as_str(); "{}", describe(opener, view));
        }
        Answer::Revoked(ids) => info!("{opener} revoked grants: {}", ids.len()),
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
