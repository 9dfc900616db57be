//! One socket of a peer, until it fails: batches out, frames in.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::super::port::{Activity, Stream};
use super::super::session::STREAM_PAUSE;
use super::super::until::until;
use super::peer::Peer;
use super::{Batch, add};
use crate::wire::mavlink::Framer;

/// Longer datagrams are cut: no sender of MAVLink makes such, and noise costs time by its length.
const READ_BUFFER: usize = 2048;
/// Who sends what cannot be forwarded is not listened to for so long.
const SILENCED: Duration = Duration::from_millis(10);

pub(super) struct Conversation {
    stream: Box<dyn Stream>,
    framer: Framer,
    buffer: Vec<u8>,
    last_read: Instant,
    /// Being written, and how far.
    outgoing: Option<(Batch, usize)>,
    silenced_until: Option<Instant>,
}

/// The link's task has ended.
pub(super) struct LinkEnded;

impl Conversation {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            framer: Framer::new(),
            buffer: vec![0; READ_BUFFER],
            last_read: Instant::now(),
            outgoing: None,
            silenced_until: None,
        }
    }

    pub(super) fn has_peer(&self) -> bool {
        self.stream.has_peer()
    }

    /// Until the socket fails. Cancel-safe: what is begun is kept for the next call.
    pub(super) async fn run(&mut self, peer: &mut Peer) -> Result<io::Error, LinkEnded> {
        loop {
            peer.tell_presence(self.has_peer());
            let is_free = self.outgoing.is_none();
            let silenced_until = self.silenced_until;
            let activity = tokio::select! {
                batch = peer.ends.to_peer.recv(), if is_free => {
                    let batch = batch.ok_or(LinkEnded)?;
                    self.outgoing = self.has_peer().then_some((batch, 0));
                    continue;
                }
                () = until(silenced_until) => {
                    self.silenced_until = None;
                    continue;
                }
                activity = poll_fn(|context| self.poll(context)) => activity,
            };
            match activity {
                Ok(Activity::Wrote(length)) => self.wrote(length, peer),
                Ok(Activity::Read(length)) => self.read(length, peer),
                // Nobody is there just now, or the network is away: so are the frames.
                Err(_) if self.stream.is_datagram() => {
                    self.outgoing = None;
                    self.silence();
                }
                Err(error) => return Ok(error),
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Activity>> {
        if let Some((batch, written)) = &self.outgoing
            && let Poll::Ready(length) = self.stream.poll_write(context, &batch.bytes[*written..])
        {
            return Poll::Ready(length.map(Activity::Wrote));
        }
        if self.silenced_until.is_some() {
            return Poll::Pending;
        }
        let length = ready!(self.stream.poll_read(context, &mut self.buffer))?;
        Poll::Ready(if length == 0 && !self.stream.is_datagram() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(Activity::Read(length))
        })
    }

    fn wrote(&mut self, length: usize, peer: &Peer) {
        let Some((batch, written)) = &mut self.outgoing else { return };
        *written += length;
        if *written >= batch.bytes.len() {
            add(&peer.ends.shared.to_peer, batch.frames);
            self.outgoing = None;
        }
    }

    fn read(&mut self, length: usize, peer: &Peer) {
        let before = self.framer.counters();
        let mut all_taken = true;
        if self.last_read.elapsed() > STREAM_PAUSE {
            all_taken &= self.forward_frames_behind_noise(peer);
        }
        self.last_read = Instant::now();
        self.framer.push(&self.buffer[..length]);
        all_taken &= self.forward_frames(peer);
        if self.stream.is_datagram() {
            all_taken &= self.forward_frames_behind_noise(peer);
        }
        let after = self.framer.counters();
        let garbage = after.skipped_bytes.wrapping_sub(before.skipped_bytes);
        add(&peer.ends.shared.garbage_bytes, garbage);
        if after.frames != before.frames {
            self.stream.answer_sender();
        }
        if garbage > 0 || !all_taken {
            self.silence();
        }
    }

    fn forward_frames_behind_noise(&mut self, peer: &Peer) -> bool {
        let mut all_taken = true;
        while self.framer.resynchronize() {
            all_taken &= self.forward_frames(peer);
        }
        all_taken
    }

    /// Whether the link took them all.
    fn forward_frames(&mut self, peer: &Peer) -> bool {
        let mut all_taken = true;
        while let Some(frame) = self.framer.next() {
            all_taken &= peer.forward(&frame);
        }
        all_taken
    }

    fn silence(&mut self) {
        self.silenced_until = Some(Instant::now() + SILENCED);
    }
}
