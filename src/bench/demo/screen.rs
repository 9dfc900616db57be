//! The table that a person watches, at most 92 columns wide.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use super::commands;
use super::message::Message;
use crate::bench::vehicle::Event;
use crate::wire::mavlink::result_name;

/// Where the demo prints. Times are milliseconds since [`Screen::new`].
pub struct Screen {
    out: Box<dyn Write>,
    colour: bool,
    started: Instant,
}

/// SGR parameters.
#[derive(Clone, Copy)]
pub enum Colour {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

struct Row<'a> {
    command_type: &'a str,
    event: &'a str,
    code: String,
    vehicle: String,
    colour: Option<Colour>,
}

impl Screen {
    /// Standard output; in colour on a terminal, unless NO_COLOR is set to anything.
    pub fn stdout() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(Box::new(io::stdout()), io::stdout().is_terminal() && !no_color)
    }

    pub fn new(out: Box<dyn Write>, colour: bool) -> Self {
        Self { out, colour, started: Instant::now() }
    }

    pub fn header(&mut self) -> io::Result<()> {
        let heads = ("ms", "command_type", "status", "response_code", "vehicle");
        let line =
            format!("{:>6}  {:29}  {:9}  {:22}  {}", heads.0, heads.1, heads.2, heads.3, heads.4);
        self.line(Some(Colour::Bold), &line)
    }

    /// A line of explanation without a time.
    pub fn remark(&mut self, text: &str) -> io::Result<()> {
        self.line(Some(Colour::Dim), &format!("        ({text})"))
    }

    /// Something that the demo itself did.
    pub fn note(&mut self, at: Instant, text: &str) -> io::Result<()> {
        let line = format!("{:>6}  -- {text}", self.milliseconds(at));
        self.line(Some(Colour::Bold), &line)
    }

    pub fn line(&mut self, colour: Option<Colour>, text: &str) -> io::Result<()> {
        match colour.filter(|_| self.colour) {
            Some(colour) => writeln!(self.out, "\x1b[{}m{text}\x1b[0m", colour as u8)?,
            None => writeln!(self.out, "{text}")?,
        }
        self.out.flush()
    }

    /// A message of the agent.
    pub fn message(&mut self, at: Instant, message: &Message) -> io::Result<()> {
        let row = match message {
            Message::Reply(reply) => {
                let key = &reply.idempotency_key;
                let command_type = commands::by_key(key).map_or(key.as_str(), |it| it.command_type);
                let kind = if reply.duplicate { "duplicate: " } else { "" };
                let code = format!("{kind}{}", reply.status);
                let colour = reply.duplicate.then_some(Colour::Yellow);
                Row { command_type, event: "reply", code, vehicle: String::new(), colour }
            }
            Message::Update(update) => Row {
                command_type: &update.command_type,
                event: &update.status,
                code: update.response_code.clone().unwrap_or_default(),
                vehicle: String::new(),
                colour: match update.status.as_str() {
                    "SUCCEEDED" => Some(Colour::Green),
                    _ => update.terminal.then_some(Colour::Red),
                },
            },
            Message::Refusal(refusal) => {
                let reason = &refusal.error;
                let text = format!("error: {}: {}", reason.code, reason.message);
                return self.note(at, &text);
            }
            Message::Unmatched(body) => return self.note(at, &format!("unmatched ACK: {body}")),
            Message::Presence(presence) => {
                let state = if presence.online { "online" } else { "offline" };
                let link = presence.link.as_ref().map(|link| format!(", link {}", link.state));
                return self.note(at, &format!("agent {state}{}", link.unwrap_or_default()));
            }
        };
        self.row(at, &row)
    }

    /// What the vehicle saw or said.
    pub fn event(&mut self, at: Instant, event: &Event) -> io::Result<()> {
        let command_type =
            |number: u32| commands::by_number(number).map_or("?", |known| known.command_type);
        let (command_type, vehicle) = match event {
            Event::Command(frame) => {
                let form = frame.form.as_str();
                (command_type(frame.command as u32), format!("<- {form} {}", frame.command as u32))
            }
            Event::Undecodable { bytes } => ("?", format!("<- {bytes:02x?}")),
            Event::Answered { command, result } => {
                let result = result_name(*result);
                let result = result.trim_start_matches("MAV_RESULT_");
                (command_type((*command).into()), format!("-> ACK {result}"))
            }
            Event::Heartbeat { .. } => return Ok(()),
        };
        let colour = Some(Colour::Cyan);
        self.row(at, &Row { command_type, event: "", code: String::new(), vehicle, colour })
    }

    fn row(&mut self, at: Instant, row: &Row<'_>) -> io::Result<()> {
        let Row { command_type, event, code, vehicle, colour } = row;
        let at = self.milliseconds(at);
        let line = format!("{at:>6}  {command_type:29}  {event:9}  {code:22}  {vehicle}");
        self.line(*colour, line.trim_end())
    }

    fn milliseconds(&self, at: Instant) -> u128 {
        at.checked_duration_since(self.started).unwrap_or(Duration::ZERO).as_millis()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use mavlink::dialects::development::{MavCmd, MavResult};

    use super::*;
    use crate::bench::demo::message::Update;

    #[test]
    fn a_row_stands_under_its_head() {
        let text = print(false);
        let lines: Vec<&str> = text.lines().collect();
        for (head, value) in [
            ("command_type", "do_digicam_control"),
            ("status", "SUCCEEDED"),
            ("response_code", "MAV_"),
        ] {
            assert_eq!(lines[0].find(head), lines[1].find(value), "{text}");
        }
    }

    #[test]
    fn colours_only_when_asked_to() {
        assert!(!print(false).contains('\x1b'));
        assert!(print(true).lines().all(|line| line.starts_with("\x1b[")));
        assert!(print(true).lines().all(|line| line.ends_with("\x1b[0m")));
    }

    #[test]
    fn names_the_mav_cmd_and_the_result_on_the_wire() {
        let sink = Sink::default();
        let mut screen = Screen::new(Box::new(sink.clone()), false);
        let command = MavCmd::MAV_CMD_DO_DIGICAM_CONTROL as u16;
        let result = MavResult::MAV_RESULT_UNSUPPORTED as u8;
        screen.event(Instant::now(), &Event::Answered { command, result }).unwrap();
        let text = sink.text();
        assert!(text.contains("do_digicam_control") && text.ends_with("-> ACK UNSUPPORTED\n"));
    }

    fn print(colour: bool) -> String {
        let sink = Sink::default();
        let mut screen = Screen::new(Box::new(sink.clone()), colour);
        screen.header().unwrap();
        let update = Update {
            command_id: "id".into(),
            status: "SUCCEEDED".into(),
            command_type: "do_digicam_control".into(),
            response_code: Some("MAV_RESULT_ACCEPTED".into()),
            idempotency_key: "key".into(),
            seq: 3,
            terminal: true,
            rest: Default::default(),
        };
        screen.message(Instant::now(), &Message::Update(update)).unwrap();
        sink.text()
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
