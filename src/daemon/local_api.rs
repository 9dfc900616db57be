//! What comes by the local API, and the log of what became of grants.

use std::collections::{BTreeMap, VecDeque};

use log::{info, warn};
use tokio::sync::oneshot;

use super::admission::Denied;
use super::metrics::Present;
use super::{Daemon, Error, outgoing};
use crate::catalog;
use crate::code::Code;
use crate::edge::api::{self, Submission};
use crate::edge::journal::Listing;
use crate::edge::link;
use crate::guard::Refusal;
use crate::guard::explain::Verdict;
use crate::guard::extra_link::LinkId;
use crate::guard::grants::{Answer, Ending, GrantId, GrantView, Opener};
use crate::lifecycle::effect::{CallId, ErrorReply, Input, Reply};
use crate::lifecycle::record::Record;
use crate::lifecycle::request::{CommandId, Origin, Query};
use crate::lifecycle::selection::Selection;
use crate::lifecycle::time::Now;
use crate::wire::explanation::{Explanation, Finding, Rehearsal};
use crate::wire::grant::Grant;
use crate::wire::inbound;
use crate::wire::request_body::sha256;
use crate::wire::status::{
    AgentStatus, BrokerStatus, ClockStatus, CommandCounts, ExtraLinkStatus, ForwardStatus,
    LinkCounters, LinkStatus,
};
use crate::wire::topic::VENDOR;

impl Daemon {
    pub(super) fn on_api(&mut self, request: api::Request) -> Result<(), Error> {
        let api::Request { call, reply } = request;
        let response = match call {
            api::Call::Submit(submission) => return self.submit(&submission, reply),
            api::Call::Find(command_id) => return self.find(command_id, reply),
            api::Call::List(selection) => {
                self.listings.add(selection, reply);
                return Ok(());
            }
            api::Call::Grant { uid, action } => {
                let opener = Opener::Operator { uid };
                let call = self.calls.add(Caller::Opener(opener.clone()), reply);
                self.handle(Input::Grant { action, opener, call });
                return Ok(());
            }
            api::Call::Status => api::Response::Status(Box::new(self.status())),
            api::Call::Metrics => api::Response::Metrics(self.metrics.text(self.present())),
            api::Call::Grants => api::Response::Grants(self.grants()),
            api::Call::Explain(rehearsal) => api::Response::Explanation(self.explain(&rehearsal)),
        };
        // A caller who has hung up does not want the answer.
        let _ = reply.send(response);
        Ok(())
    }

    /// A command by HTTP goes the way of one by MQTT from here on.
    fn submit(&mut self, submission: &Submission, reply: Sender) -> Result<(), Error> {
        let now = self.now();
        match self.admission.read_http(self.engine.guard(), submission, &now) {
            Ok(request) => {
                let stored = self.stored(request.command_id)?;
                let caller = Caller::Issuer(request.api_id.clone());
                let origin = Origin::Http(self.calls.add(caller, reply));
                self.engine.handle(&now, Input::Request { request, stored, origin });
            }
            Err(Denied { code, reply: error }) => {
                self.metrics.refused(code);
                let answer = match error {
                    Some(error) => {
                        outgoing::log_refusal(None, &error.violations[0]);
                        Reply::Error(*error)
                    }
                    None => too_many(),
                };
                let _ = reply.send(api::Response::Reply(answer));
            }
        }
        Ok(())
    }

    fn find(&mut self, command_id: CommandId, reply: Sender) -> Result<(), Error> {
        let stored = self.stored(command_id)?;
        let origin = Origin::Http(self.calls.add(Caller::Anybody, reply));
        let request_sha256 = sha256(b"");
        let query = Query {
            command_id,
            api_id: None,
            idempotency_key: None,
            request_id: None,
            request_sha256,
        };
        self.handle(Input::Query { query, stored, origin });
        Ok(())
    }

    /// Goes on with the first of the lists that somebody waits for.
    pub(super) fn list(&mut self) -> Result<(), Error> {
        let Some((listing, reply)) = self.listings.first() else { return Ok(()) };
        let engine = &self.engine;
        let present = |stored: Record| engine.live(stored.command_id).cloned().unwrap_or(stored);
        if reply.is_closed() || self.journal.list(listing, present)? {
            self.listings.answer_first();
        }
        Ok(())
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
        let extra_links = self.links.extra().map(|it| ExtraLinkStatus {
            name: it.name.to_owned(),
            state: self.engine.link_state(it.id).as_str().to_owned(),
            endpoint: it.endpoint,
            signed: it.is_signed,
            counters: link_counters(it.counters),
        });
        AgentStatus {
            vendor: VENDOR.to_owned(),
            device_id: self.device_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: self.session,
            guard_mode: self.engine.guard().mode().as_str().to_owned(),
            link: LinkStatus {
                state: self.engine.link_state(LinkId::MAIN).as_str().to_owned(),
                endpoint: self.links.endpoint(),
                signed: self.links.is_signed(),
                counters: link_counters(self.links.counters()),
                autopilot: self.engine.autopilot().address().map(|it| it.to_string()),
                other_autopilots: self.autopilots.others(self.engine.autopilot()).collect(),
            },
            links: extra_links.collect(),
            forwards: self.links.forwards().into_iter().map(forward_status).collect(),
            broker: BrokerStatus {
                connected: self.broker.is_some(),
                address: self.broker.as_ref().unwrap_or(&self.brokers).clone(),
            },
            clock: ClockStatus { trusted: wall_trusted, time: wall },
            challenge: self.admission.challenge().to_owned(),
            commands: CommandCounts {
                queued: self.engine.queued(),
                outstanding: self.engine.outstanding(),
                unpublished: self.engine.unpublished(),
            },
            grants: self.grants(),
            refusals: self.metrics.refusals().map(|(code, n)| (code.as_str().into(), n)).collect(),
            catalog_hash: catalog::HASH.to_owned(),
        }
    }

    fn present(&self) -> Present {
        Present {
            link: self.engine.link_state(LinkId::MAIN),
            heard: self.links.counters(),
            broker_connected: self.broker.is_some(),
            clock_trusted: self.now().wall_trusted,
            queued: self.engine.queued(),
            outstanding: self.engine.outstanding(),
            unpublished: self.engine.unpublished(),
            grants: self.engine.grants().views(self.now().boot).len(),
        }
    }
}

type Sender = oneshot::Sender<api::Response>;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub enum Caller {
    Opener(Opener),
    Issuer(String),
    Anybody,
}

fn link_counters(counters: link::Counters) -> LinkCounters {
    let link::Counters { framed, foreign, unsigned, bad_signature, replayed, stale } = counters;
    LinkCounters {
        bytes: framed.bytes,
        frames: framed.frames,
        mavlink_1: framed.mavlink_1,
        foreign,
        skipped_bytes: framed.skipped_bytes,
        bad_checksum: framed.bad_checksum,
        unknown_message: framed.unknown_message,
        unknown_flags: framed.unknown_flags,
        unsigned,
        bad_signature,
        replayed,
        stale,
    }
}

fn forward_status(counts: link::ForwardCounts) -> ForwardStatus {
    ForwardStatus {
        endpoint: counts.options.endpoint.to_string(),
        direction: counts.options.direction.as_str().to_owned(),
        has_peer: counts.has_peer,
        to_peer: counts.to_peer,
        to_peer_dropped: counts.to_peer_dropped,
        to_vehicle: counts.to_vehicle,
        to_vehicle_dropped: counts.to_vehicle_dropped,
        refused: counts.refused,
        garbage_bytes: counts.garbage_bytes,
    }
}

/// Calls that wait for the engine's answer.
#[derive(Debug, Default)]
pub struct Calls {
    last: u64,
    waiting: BTreeMap<CallId, (Caller, Sender)>,
}

impl Calls {
    pub fn add(&mut self, caller: Caller, reply: Sender) -> CallId {
        self.last += 1;
        let call = CallId(self.last);
        self.waiting.insert(call, (caller, reply));
        call
    }

    /// The issuer, if it is one, and where the answer goes.
    pub fn take(&mut self, call: CallId) -> Option<(Option<String>, Sender)> {
        let (caller, reply) = self.waiting.remove(&call)?;
        let api_id = match caller {
            Caller::Issuer(api_id) => Some(api_id),
            Caller::Opener(_) | Caller::Anybody => None,
        };
        Some((api_id, reply))
    }

    pub fn answer(&mut self, call: CallId, outcome: Result<Answer, Refusal>) {
        let Some((Caller::Opener(opener), reply)) = self.waiting.remove(&call) else { return };
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

/// Lists that are being made, one after the other, a little in every turn of the loop.
#[derive(Debug, Default)]
pub struct Listings(VecDeque<(Listing, Sender)>);

impl Listings {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// There are as many as connections to the API at most.
    fn add(&mut self, selection: Selection, reply: Sender) {
        self.0.push_back((Listing::new(selection), reply));
    }

    fn first(&mut self) -> Option<&mut (Listing, Sender)> {
        self.0.front_mut()
    }

    fn answer_first(&mut self) {
        if let Some((listing, reply)) = self.0.pop_front() {
            let (records, complete) = listing.finish();
            let _ = reply.send(api::Response::Commands { records, complete });
        }
    }
}

/// In place of an answer that would only help to make noise.
pub fn too_many() -> Reply {
    let text = "too many requests that could not be authenticated; try again in a moment";
    Reply::Error(inbound::refusal(b"", Code::PolicyRateLimited, text))
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
