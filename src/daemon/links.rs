//! The links, and by which of them an event came.

use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::mpsc;

use super::EVENTS;
use crate::config::{self, Config};
use crate::edge::link;
use crate::guard::extra_link::LinkId;
use crate::wire::mavlink::SigningTime;

/// By [`LinkId`]; never empty.
pub struct Links(Vec<Link>);

struct Link {
    /// `None`: the main one.
    name: Option<String>,
    endpoint: link::Endpoint,
    /// Whether MAVLink frames are.
    is_signed: bool,
    handle: link::Handle,
    events: mpsc::Receiver<link::Event>,
}

/// An extra link, for those who show it.
pub struct Extra<'a> {
    pub id: LinkId,
    pub name: &'a str,
    pub endpoint: String,
    pub is_signed: bool,
    pub counters: link::Counters,
}

impl Links {
    /// Timestamps of signatures before `start` may have been used by an earlier process; it is at
    /// least `now`.
    pub fn spawn(config: &Config, start: SigningTime, now: SigningTime) -> Self {
        let config::Link { endpoint, source, target, signing, extra, .. } = &config.link;
        let spawn = |name: Option<&String>,
                     endpoint: &link::Endpoint,
                     keyed: &Option<config::Signing>,
                     forwards| {
            let (sender, events) = mpsc::channel(EVENTS);
            let signing = keyed.as_ref().map(|it| link::Signing {
                key: it.key.clone(),
                link_id: it.link_id,
                start,
                now,
            });
            let options = link::Options {
                endpoint: endpoint.clone(),
                source: *source,
                vehicle: target.system,
                signing,
                forwards,
            };
            let handle = link::spawn(options, sender);
            Link {
                name: name.cloned(),
                endpoint: endpoint.clone(),
                is_signed: keyed.is_some(),
                handle,
                events,
            }
        };
        let main = spawn(None, endpoint, signing, config.forwards.clone());
        let extra = extra
            .iter()
            .map(|it| spawn(Some(&it.link.name), &it.endpoint, &it.signing, Vec::new()));
        Self(std::iter::once(main).chain(extra).collect())
    }

    /// Cancel-safe. `None`: a link's task has ended.
    pub async fn next_event(&mut self) -> Option<(LinkId, link::Event)> {
        poll_fn(|context| {
            for (id, link) in (0..).map(LinkId).zip(&mut self.0) {
                if let Poll::Ready(event) = link.events.poll_recv(context) {
                    return Poll::Ready(event.map(|event| (id, event)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// One that waits already.
    pub fn waiting_event(&mut self) -> Option<(LinkId, link::Event)> {
        let mut links = (0..).map(LinkId).zip(&mut self.0);
        links.find_map(|(id, link)| Some((id, link.events.try_recv().ok()?)))
    }

    pub fn waiting_events(&self) -> usize {
        self.0.iter().map(|link| link.events.len()).sum()
    }

    pub fn send(&self, id: LinkId, send: link::Send) {
        self.0[usize::from(id.0)].handle.send(send);
    }

    /// Timestamps that every link may use: each signs for streams of its own.
    pub fn grant(&self, lease: link::Lease) {
        for link in &self.0 {
            link.handle.grant(lease);
        }
    }

    /// The vehicle's system id is known now.
    pub fn tell_vehicle(&self, system: u8) {
        for link in &self.0 {
            link.handle.tell_vehicle(system);
        }
    }

    /// As configured; the main one has none.
    pub fn name(&self, id: LinkId) -> Option<&str> {
        self.0[usize::from(id.0)].name.as_deref()
    }

    /// `serial:/dev/ttyAMA0:921600`, or `camera (serial:/dev/ttyUSB0:115200)`
    pub fn describe(&self, id: LinkId) -> String {
        let Link { name, endpoint, .. } = &self.0[usize::from(id.0)];
        match name {
            Some(name) => format!("{name} ({endpoint})"),
            None => endpoint.to_string(),
        }
    }

    /// Of the main link.
    pub fn endpoint(&self) -> String {
        self.0[0].endpoint.to_string()
    }

    /// Whether MAVLink frames on the main link are.
    pub fn is_signed(&self) -> bool {
        self.0[0].is_signed
    }

    /// Of the main link.
    pub fn counters(&self) -> link::Counters {
        self.0[0].handle.counters()
    }

    pub fn extra(&self) -> impl Iterator<Item = Extra<'_>> {
        (0..).map(LinkId).zip(&self.0).filter_map(|(id, link)| {
            Some(Extra {
                id,
                name: link.name.as_deref()?,
                endpoint: link.endpoint.to_string(),
                is_signed: link.is_signed,
                counters: link.handle.counters(),
            })
        })
    }

    /// Who shares the main link.
    pub fn forwards(&self) -> Vec<link::ForwardCounts> {
        self.0[0].handle.forwards()
    }
}
