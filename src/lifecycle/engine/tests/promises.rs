//! What the publishers and the vehicle have seen of a history, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use super::harness::ModelJournal;
use super::*;
use crate::wire::mavlink::{CommandAck, CommandFrame};

/// COMMAND_ACK.result_param2 of an answer to somebody else.
pub const FOR_ANOTHER: i32 = 4242;
/// And of one that comes by another link than the command went out.
pub const BY_ANOTHER_LINK: i32 = 4243;

#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Commands with a PUBLISH that was acknowledged, or with an HTTP response.
    pub acknowledged: BTreeSet<CommandId>,
    /// What was ever published, by command and number, whether it arrived or not.
    published: BTreeMap<CommandId, BTreeMap<u64, Record>>,
    /// The numbers that arrived.
    pub arrived: BTreeMap<CommandId, BTreeSet<u64>>,
    pub frames: BTreeMap<CommandId, Vec<CommandFrame>>,
}

impl Witness {
    /// The agent acknowledged a request.
    pub fn acknowledge(&mut self, engine: &Engine, journal: &ModelJournal, command: CommandId) {
        if journal.records.contains_key(&command) {
            self.acknowledged.insert(command);
        } else {
            // Only a full queue, or an outbox without room, makes no command; its reply comes next.
            let reply =
                engine.ready.iter().chain(&engine.effects).find_map(|effect| match effect {
                    Effect::Reply { reply, .. } => Some(reply),
                    _ => None,
                });
            let is_busy = matches!(
                reply,
                Some(Reply::Error(error))
                    if matches!(error.violations[0].code, Code::BusyQueueFull | Code::BusyJournalFull)
            );
            assert!(is_busy, "an acknowledged request made no command: {reply:?}");
        }
    }

    /// The agent found nobody who waits for an answer.
    pub fn unmatched(&self, ack: &CommandAck) {
        assert_ne!(ack.result_param2, FOR_ANOTHER, "noise about somebody else's answer");
    }

    /// The agent answered a message.
    pub fn reply(&self, journal: &ModelJournal, reply: &Reply) {
        if let Reply::Error(error) = reply {
            let code = error.violations[0].code;
            assert_ne!(code, Code::IdempotencyConflict, "no key ever has another content");
        }
        let record: &Record = match reply {
            Reply::Created { record, .. } => record,
            Reply::Found { record, .. } => record,
            _ => return,
        };
        let durable = journal.records.get(&record.command_id).expect("an answer before its commit");
        if record.is_terminal() {
            assert!(durable.seq >= record.seq, "an outcome is told before it is durable");
        }
    }

    /// The agent answered an HTTP request: as good as an acknowledgement.
    pub fn respond(&mut self, journal: &ModelJournal, reply: &Reply) {
        self.reply(journal, reply);
        if let Reply::Created { record, .. } = reply {
            self.acknowledged.insert(record.command_id);
        }
    }

    /// The agent published an update.
    pub fn publish(&mut self, journal: &ModelJournal, record: &Record) {
        for answer in [&record.ack, &record.stray].into_iter().flatten() {
            let CommandAck { result_param2, source, .. } = answer.ack;
            assert_eq!(source.system, record.target.system, "another vehicle's answer counted");
            assert_ne!(result_param2, FOR_ANOTHER, "somebody else's answer counted");
            let is_astray = result_param2 == BY_ANOTHER_LINK && source == record.target;
            assert!(!is_astray, "an answer by another link counted");
        }
        if record.is_terminal() {
            let durable = journal.records.get(&record.command_id).map_or(0, |it| it.seq);
            assert!(durable >= record.seq, "an outcome is visible before it is durable");
        }
        let known = self.published.entry(record.command_id).or_default();
        if let Some(before) = known.insert(record.seq, record.clone()) {
            assert_eq!(before, *record, "one number, two updates");
        }
    }

    /// An update reached its subscribers: for the first time in order, or again.
    pub fn arrive(&mut self, record: &Record) {
        let arrived = self.arrived.entry(record.command_id).or_default();
        let last = arrived.last().copied().unwrap_or(0);
        let is_new = arrived.insert(record.seq);
        assert!(!is_new || record.seq > last, "{} came after {last}", record.seq);
    }

    /// A frame was handed to a link. Returns whose it is.
    pub fn send(
        &mut self,
        engine: &Engine,
        journal: &ModelJournal,
        link: LinkId,
        frame: CommandFrame,
    ) -> CommandId {
        let extra = &engine.settings.extra_links;
        let leads_there = |it: &ExtraLink| it.components.contains(&frame.target.component);
        let way = extra.iter().position(leads_there).map_or(LinkId::MAIN, LinkId::of_extra);
        assert_eq!(link, way, "a frame went astray");
        let system = engine.autopilot().system;
        assert_eq!(system, Some(frame.target.system), "a frame to another vehicle");
        let slot = (frame.target, frame.command);
        let command = *engine.in_flight.get(&slot).expect("a frame has its place");
        let durable = journal.records[&command].dispatch.as_ref();
        let durable = durable.expect("a frame before its dispatch is durable");
        let frames = self.frames.entry(command).or_default();
        frames.push(frame);
        let mut forms: Vec<bool> =
            frames.iter().map(|frame| matches!(frame.body, Body::Long(_))).collect();
        forms.dedup();
        assert_eq!(forms.len(), frames.len(), "{command}: the same frame went out twice");
        assert!(frames.len() <= 2, "{command}: {} frames", frames.len());
        assert!(frames.len() == 1 || durable.other_form, "{command}: a frame nobody asked for");
        command
    }

    /// Every update that was ever published, by command and number.
    pub fn published(&self) -> impl Iterator<Item = &Record> {
        self.published.values().flat_map(BTreeMap::values)
    }

    /// Everything has arrived and nothing more will happen.
    pub fn at_rest(&self, engine: &Engine, journal: &ModelJournal) {
        assert!(engine.outbox.is_empty(), "updates were never published");
        assert!(journal.outbox.is_empty(), "acknowledged updates are still journaled");
        for command in &self.acknowledged {
            let arrived = self.arrived.get(command).expect("nothing arrived");
            let updates: Vec<&Record> =
                arrived.iter().map(|seq| &self.published[command][seq]).collect();
            let last = updates[updates.len() - 1];
            assert!(last.is_terminal(), "{command} ended as {:?}", last.status);
            let decisions: Vec<Status> = updates
                .iter()
                .filter(|record| record.is_terminal() && record.status != Status::Delivered)
                .map(|record| record.status)
                .collect();
            let is_decided = match decisions[..] {
                [] => last.timeout_seconds == 0,
                [_] | [Status::TimedOut, Status::UnmatchedResponse] => true,
                _ => false,
            };
            assert!(is_decided, "{command} was decided as {decisions:?}");
            assert_eq!(journal.records[command].status, last.status);
        }
    }
}
