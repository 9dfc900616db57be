//! The links, and by which of them an event came.

use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::mpsc;

use super::EVENTS;
use crate::config::Config;
use crate::edge::link;
use crate::guard::extra_link::LinkId;

/// By [`LinkId`]; never empty.
pub struct Links(Vec<Link>);

struct Link {
    /// `None`: the main one.
    name: Option<String>,
    endpoint: link::Endpoint,
    handle: link::Handle,
    events: mpsc::Receiver<link::Event>,
}

/// An extra link, for those who show it.
pub struct Extra<'a> {
    pub id: LinkId,
    pub name: &'a str,
    pub endpoint: String,
}

impl Links {
    pub fn spawn(config: &Config) -> Self {
        let spawn = |name: Option<&String>, endpoint: &link::Endpoint, forwards| {
            let (sender, events) = mpsc::channel(EVENTS);
            let options =
                link::Options { endpoint: endpoint.clone(), source: config.link.source, forwards };
            let handle = link::spawn(options, sender);
            Link { name: name.cloned(), endpoint: endpoint.clone(), handle, events }
        };
        let main = spawn(None, &config.link.endpoint, config.forwards.clone());
        let extra =
            config.link.extra.iter().map(|it| spawn(Some(&it.link.name), &it.endpoint, Vec::new()));
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

    pub fn send(&self, id: LinkId, send: link::Send) {
        self.0[usize::from(id.0)].handle.send(send);
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

    pub fn extra(&self) -> impl Iterator<Item = Extra<'_>> {
        (0..).map(LinkId).zip(&self.0).filter_map(|(id, link)| {
            Some(Extra { id, name: link.name.as_deref()?, endpoint: link.endpoint.to_string() })
        })
    }

    /// Who shares the main link.
    pub fn forwards(&self) -> Vec<link::ForwardCounts> {
        self.0[0].handle.forwards()
    }
}
