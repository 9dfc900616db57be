//! Listens on the port for a while, for `downlinkd check`: what is there, and at this rate?
//!
//! Runs in the caller's task and ends within the time it is given. Nothing is written, also no
//! heartbeat, except the one frame that the caller asks for.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Endpoint;
use super::port::{Activity, Failure, Port};
use crate::guard::autopilot::Autopilot;
use crate::wire::mavlink::{
    self, Address, AutopilotVersion, Body, CommandFrame, Framer, Heartbeat, Received,
    autopilot_version,
};

const READ_BUFFER: usize = 64 * 1024;

/// What came in the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub bytes: u64,
    /// That belong to no intact frame.
    pub noise_bytes: u64,
    pub frames: u64,
    /// The first of each source.
    pub heartbeats: Vec<Heartbeat>,
    /// The target's frames with a signature (MAVLink 2, incompatibility flag 1).
    pub signed_frames: u64,
    /// The target's.
    pub version: Option<AutopilotVersion>,
}

/// The one frame that may be written, once the target has been heard.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub source: Address,
    /// The MAV_CMD.
    pub command: u16,
    pub body: Body,
}

/// Listens for so long.
///
/// # Errors
/// Why the port cannot be opened or read, in words.
pub async fn listen(
    endpoint: &Endpoint,
    target: Autopilot,
    listen_for: Duration,
    mut question: Option<Question>,
) -> Result<Heard, String> {
    let until = Instant::now() + listen_for;
    let mut port = match timeout_at(until, Port::open(endpoint)).await {
        Ok(opened) => opened.map_err(|failure| failure.to_string())?,
        Err(_) => return Err(format!("failed to open {endpoint}: no answer in time")),
    };
    let mut listener = Listener { target, framer: Framer::new(), heard: Heard::default() };
    let mut frame = None;
    let mut written = 0;
    let mut buffer = vec![0; READ_BUFFER];
    let ended = loop {
        if let Some(target) = listener.heard_target().filter(|_| port.has_peer())
            && let Some(Question { source, command, body }) = question.take()
        {
            let asked = CommandFrame { target, command, confirmation: 0, body };
            frame = Some(mavlink::command(0, source, &asked));
        }
        let unwritten = frame.as_ref().map(|frame| &frame.as_slice()[written..]);
        match timeout_at(until, port.activity(unwritten, &mut buffer)).await {
            Ok(Ok(Activity::Read(length))) => {
                if listener.take(&buffer[..length]) {
                    port.answer_sender();
                }
            }
            Ok(Ok(Activity::Wrote(length))) => {
                written += length;
                frame = frame.filter(|frame| written < frame.as_slice().len());
            }
            Ok(Err(failure)) => break Err(failure),
            Err(_) => break Ok(()),
        }
    };
    // Else closing could wait for what is still to be written.
    port.discard_undrained();
    ended.map_err(|failure: Failure| failure.to_string())?;
    Ok(listener.result())
}

struct Listener {
    target: Autopilot,
    framer: Framer,
    heard: Heard,
}

impl Listener {
    fn heard_target(&self) -> Option<Address> {
        let target = self.target.address()?;
        self.heard.heartbeats.iter().any(|it| it.source == target).then_some(target)
    }

    /// Whether there was a frame.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.heard.bytes += bytes.len() as u64;
        self.framer.push(bytes);
        self.take_frames()
    }

    fn take_frames(&mut self) -> bool {
        let Self { target, framer, heard } = self;
        let before = heard.frames;
        while let Some(frame) = framer.next() {
            heard.frames += 1;
            if let Some(Received::Heartbeat(heartbeat)) = mavlink::decode(&frame)
                && heard.heartbeats.iter().all(|it| it.source != heartbeat.source)
            {
                target.learn(&heartbeat);
                heard.heartbeats.push(heartbeat);
            }
            if target.address() == Some(frame.source()) {
                heard.signed_frames += u64::from(frame.is_signed());
                heard.version = heard.version.or(autopilot_version(&frame));
            }
        }
        heard.frames > before
    }

    fn result(mut self) -> Heard {
        // Noise that looks like the beginning of a long frame holds back what follows it.
        while self.framer.resynchronize() {
            self.take_frames();
        }
        let noise_bytes = self.framer.counters().skipped_bytes;
        Heard { noise_bytes, ..self.heard }
    }
}
