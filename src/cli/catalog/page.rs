//! `downlinkd catalog COMMAND`: all about one command, and how to send it.

use textwrap::{Options, WordSplitter};

use super::request::{self, Example};
use crate::catalog::{Command, Field, Status, System, Transport};
use crate::wire::inbound::MAX_TIMEOUT_SECONDS;
use crate::wire::topic::VENDOR;

const WIDTH: usize = 100;

/// The page, at most 100 columns wide but for the line to copy.
pub fn text(command: &Command) -> String {
    let mut page = Page::default();
    page.line(command.command_type);
    page.blank();
    introduce(&mut page, command);
    request_params(&mut page, command);
    frame_mapping(&mut page, command);
    if !command.advice.is_empty() {
        page.heading("Advice");
        for advice in command.advice {
            page.item(advice);
        }
    }
    answers(&mut page, command);
    example(&mut page, command);
    page.0
}

fn introduce(page: &mut Page, command: &Command) {
    page.paragraph(
        "",
        &format!(
            "PX4 capability domain: {}. PX4 mapping: {}. {}",
            command.domain, command.mavlink_command, command.description
        ),
    );
    page.blank();
    let status = match command.status {
        Status::Current => "current",
        Status::Superseded => "superseded by another command",
        Status::Deprecated => "deprecated",
        Status::Wip => "work in progress, may still change",
    };
    let repeatable = if command.repeatable {
        "repeatable: sending it twice does no more than once"
    } else {
        "not repeatable"
    };
    page.paragraph("", &format!("Risk: {}; {repeatable}. Status: {status}.", command.risk));
    if command.mission_only {
        page.paragraph("", "Only valid inside a mission plan.");
    }
}

fn request_params(page: &mut Page, command: &Command) {
    page.heading("Request Params");
    let component = "MAVLink component to address, 0-255, within what policy allows; left out: the \
         vehicle's configured component";
    let payload = "Typed request payload for this command; raw param1..param7 fields are refused.";
    page.param("vendor", "string, required", &format!("Fixed value {VENDOR}"));
    page.param("device_id", "string, required", "Target PX4 device ID");
    let fixed = format!("Fixed value {}", command.command_type);
    page.param("command_type", "string, required", &fixed);
    let key = "Idempotency key; repeated requests return the same command";
    page.param("idempotency_key", "string, required", key);
    let timeout = format!("Timeout in seconds, range 0~{MAX_TIMEOUT_SECONDS}");
    page.param("timeout_seconds", "integer", &timeout);
    page.param("target_component", "integer", component);
    if let Some(default) = command.default_frame() {
        let frames: Vec<&str> = command.frames().map(|(entry, _)| entry.name).collect();
        let meaning = format!("MAV_FRAME of the location; left out: {}", default.name);
        page.param("frame", "string", &meaning);
        page.detail("Allowed", &frames.join(", "));
    }
    page.param("payload", "object, required", payload);
    for field in command.fields {
        payload_field(page, command, field);
    }
}

fn payload_field(page: &mut Page, command: &Command, field: &Field) {
    let enumeration = field.enumeration.map(|enumeration| format!(", enum {}", enumeration.name));
    let meaning = format!(
        "Meaning: {}{}; maps to MAVLink parameter {} in the PX4 frame.",
        field.label,
        enumeration.unwrap_or_default(),
        field.param
    );
    page.param(&format!("payload.{}", field.name), "number", &meaning);
    if !field.description.is_empty() {
        page.paragraph(INDENT, field.description);
    }
    let systems: Vec<System> = command.systems().collect();
    match (&systems[..], field.param) {
        ([_, _], 5 | 6) => {
            for system in systems {
                let (frames, units) = match system {
                    System::Global => ("global", "degrees"),
                    System::Local => ("local", "metres"),
                };
                let allowed = command.allowed(field, Some(system));
                page.detail("Allowed", &format!("{allowed} {units} in {frames} frames"));
            }
        }
        _ => page.detail("Allowed", &command.allowed(field, systems.first().copied())),
    }
    let unset_integer = command.transport == Transport::CommandInt && matches!(field.param, 5 | 6);
    let default = match field.default {
        Some(default) => default.to_string(),
        None if unset_integer => "unset (INT32_MAX), as null".to_owned(),
        None => "unset (NaN), as null".to_owned(),
    };
    page.detail("Left out", &default);
}

fn frame_mapping(page: &mut Page, command: &Command) {
    page.heading("PX4 Frame Mapping");
    page.item(&format!("MAVLink command: {}", command.mavlink_command));
    page.item(&format!("Command ID: {}", command.mavlink_command_id));
    page.item(&format!("Default transport: {}", command.transport));
    page.item(&format!("Source XML: {}", command.source_xml));
    for system in command.systems() {
        page.item(match system {
            System::Global => "Coordinates in global frames: degrees; 1e-7 degrees on the wire",
            System::Local => "Coordinates in local frames: metres; 1e-4 metres on the wire",
        });
    }
    page.item("Completion: COMMAND_ACK");
    page.item(
        "Guard: real PX4 downlink is disabled by default; guarded mode requires explicit \
         authorization and a ready transport.",
    );
}

fn answers(page: &mut Page, command: &Command) {
    page.heading("Answers");
    page.item(
        "The issuer signs its request, by user properties or an envelope (docs/signing.md); what is \
         not signed is answered with auth.failed and goes nowhere",
    );
    page.item(&format!(
        "{}: command_id and status ACCEPTED, or what is wrong with the request",
        request::topic("replies")
    ));
    page.item(&format!(
        "{}/+: status, ACCEPTED / DELIVERED / SUCCEEDED / FAILED / TIMED_OUT / \
         UNMATCHED_RESPONSE; response_code, the mapped COMMAND_ACK.result or the agent's own code",
        request::topic("lifecycle")
    ));
    page.item(&format!(
        "The agent waits for COMMAND_ACK of command {} and correlates it by command id. Disabled \
         mode sends no frame and completes with a rejected lifecycle result.",
        command.mavlink_command_id
    ));
}

fn example(page: &mut Page, command: &Command) {
    let example = Example::of(command);
    page.heading("Example");
    page.0.push_str(&request::pretty(&example));
    page.blank();
    page.line(&format!(
        "mosquitto_pub -h localhost -q 1 -t '{}' -m '{}'",
        request::topic("commands"),
        example.compact()
    ));
}

const INDENT: &str = "      ";

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.blank();
        self.line(text);
        self.blank();
    }

    fn paragraph(&mut self, indent: &str, text: &str) {
        self.wrap(indent, indent, text);
    }

    fn item(&mut self, text: &str) {
        self.wrap("  • ", "    ", text);
    }

    fn param(&mut self, name: &str, kind: &str, meaning: &str) {
        self.line(&format!("  {name}: {kind}"));
        self.paragraph(INDENT, meaning);
    }

    fn detail(&mut self, name: &str, text: &str) {
        self.wrap(INDENT, &format!("{INDENT}  "), &format!("{name}: {text}"));
    }

    fn wrap(&mut self, first: &str, others: &str, text: &str) {
        // Names and links stay whole.
        let options = Options::new(WIDTH)
            .initial_indent(first)
            .subsequent_indent(others)
            .break_words(false)
            .word_splitter(WordSplitter::NoHyphenation);
        self.line(&textwrap::fill(text, options));
    }
}
