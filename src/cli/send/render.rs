//! What is printed for people. Pure.

use std::time::Duration;

use super::follow::Step;
use crate::cli::presence::Presence;

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// How far continuation lines stand in: as far as what follows the time.
const INDENT: &str = "           ";

/// The lines of a step, each with its end. `elapsed`: since the request was published.
pub fn step(step: &Step, elapsed: Duration) -> String {
    let time = format!("{:>7.3} s", elapsed.as_secs_f64());
    let text = match step {
        Step::Status { status, progress, code, message, .. } => {
            let percent = progress.map(|percent| format!(" {percent} %")).unwrap_or_default();
            let reason = match (code, message) {
                (Some(code), Some(message)) => format!("  {code}: {message}"),
                (Some(text), None) | (None, Some(text)) => format!("  {text}"),
                (None, None) => String::new(),
            };
            format!("{time}  {}{percent}{reason}", status.as_str())
        }
        Step::Duplicate(status) => format!(
            "{time}  {}  a duplicate: this idempotency key was used before, nothing is sent again",
            status.as_str()
        ),
        Step::Refused(reasons) => {
            let lines = reasons.iter().enumerate().map(|(index, (code, message))| {
                let start = if index == 0 { format!("{time}  refused") } else { INDENT.to_owned() };
                format!("{start}  {code}: {message}")
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    format!("{}\n", printable(&text))
}

/// What the catalogue knows of traps, when the command has ended.
pub fn notes(step: &Step) -> Vec<String> {
    match step {
        Step::Status { advice, .. } => {
            advice.iter().map(|advice| printable(&format!("note: {advice}"))).collect()
        }
        Step::Duplicate(_) | Step::Refused(_) => Vec::new(),
    }
}

/// The line that a terminal shows while nothing happens. `tick` turns the wheel.
pub fn waiting(what: &str, elapsed: Duration, tick: usize) -> String {
    let wheel = SPINNER[tick % SPINNER.len()];
    printable(&format!("{:>7.1} s  {wheel} {what}", elapsed.as_secs_f64()))
}

/// What a sender should know of the vehicle before its request goes out.
pub fn warning(presence: Option<&Presence>, keeps_for: Duration) -> Option<String> {
    let kept = format!("the broker keeps the request for it for {} s at most", keeps_for.as_secs());
    let Some(presence) = presence else {
        return Some(format!("no agent has announced itself for this vehicle; {kept}"));
    };
    let link = presence.link.as_ref().map(|link| link.state.as_str());
    let is_disabled = presence.guard_mode.as_deref() == Some("disabled");
    match (presence.online, link) {
        (false, _) => Some(format!("the vehicle is offline; {kept}")),
        (true, _) if is_disabled => {
            Some("downlink is disabled on the vehicle: the command will be FAILED".to_owned())
        }
        (true, Some(state)) if state != "ready" => Some(format!(
            "the vehicle's link to its autopilot is {state}: the command will be FAILED unless that \
             changes"
        )),
        (true, _) => None,
    }
}

/// Messages come from elsewhere; none may drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::presence::PresentLink;
    use crate::lifecycle::status::Status;

    fn status(status: Status) -> Step {
        Step::Status { status, progress: None, code: None, message: None, advice: Vec::new() }
    }

    #[test]
    fn one_line_for_each_step() {
        let progress = Step::Status {
            status: Status::Delivered,
            progress: Some(40),
            code: Some("MAV_RESULT_IN_PROGRESS".to_owned()),
            message: None,
            advice: Vec::new(),
        };
        let failed = Step::Status {
            status: Status::Failed,
            progress: None,
            code: Some("guard.disabled".to_owned()),
            message: Some("downlink is\u{1b}[2J disabled".to_owned()),
            advice: vec!["use do_set_roi_location".to_owned()],
        };
        let wrong = [("a.b", "A"), ("c.d", "C")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(notes(&failed), ["note: use do_set_roi_location"]);
        let sent = Step::Status {
            status: Status::Delivered,
            progress: None,
            code: None,
            message: Some("sent".to_owned()),
            advice: Vec::new(),
        };
        for (shown, expected) in [
            (sent, "  0.012 s  DELIVERED  sent\n"),
            (status(Status::Accepted), "  0.012 s  ACCEPTED\n"),
            (progress, "  0.012 s  DELIVERED 40 %  MAV_RESULT_IN_PROGRESS\n"),
            (failed, "  0.012 s  FAILED  guard.disabled: downlink is\u{FFFD}[2J disabled\n"),
            (
                Step::Duplicate(Status::TimedOut),
                "  0.012 s  TIMED_OUT  a duplicate: this idempotency key was used before, nothing is \
                 sent again\n",
            ),
            (Step::Refused(wrong.to_vec()), "  0.012 s  refused  a.b: A\n             c.d: C\n"),
        ] {
            assert_eq!(step(&shown, Duration::from_millis(12)), expected);
        }
    }

    #[test]
    fn the_wheel_turns() {
        let line = |tick| waiting("DELIVERED", Duration::from_millis(1250), tick);
        assert_eq!(line(0), "    1.2 s  ⠋ DELIVERED");
        assert_eq!(line(0), line(SPINNER.len()));
        assert_ne!(line(0), line(1));
    }

    #[test]
    fn a_sender_is_warned_of_what_the_presence_tells() {
        let present = Presence {
            online: true,
            session: uuid::Uuid::nil(),
            guard_mode: Some("guarded".to_owned()),
            link: Some(PresentLink { state: "ready".to_owned() }),
            clock: None,
            challenge: None,
        };
        let closed = Some(PresentLink { state: "closed".to_owned() });
        let kept = Duration::from_secs(60);
        let told = |presence: &Presence| warning(Some(presence), kept).unwrap();
        assert_eq!(warning(Some(&present), kept), None);
        assert!(warning(None, kept).unwrap().contains("60 s"));
        assert!(told(&Presence { online: false, ..present.clone() }).contains("offline"));
        assert!(told(&Presence { link: closed, ..present.clone() }).contains("is closed"));
        let disabled = Presence { guard_mode: Some("disabled".to_owned()), ..present };
        assert!(told(&disabled).contains("disabled"));
    }
}
