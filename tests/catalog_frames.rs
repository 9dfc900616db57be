//! Requests in, frames out: for a codec that is not ours to decode. `tests/e2e/test_catalog.py`
//! writes the requests, runs this, and knows what every frame must say.

use std::env;
use std::fmt::Write as _;
use std::fs;

use downlinkd::wire::inbound::read_request;
use downlinkd::wire::mavlink::{Address, Body, CommandFrame, command};
use downlinkd::wire::request_body::RequestBody;
use serde_json::{Value, json};

const US: Address = Address { system: 1, component: 191 };
const AUTOPILOT: Address = Address { system: 1, component: 1 };

/// Reads one request a line from the file `DOWNLINKD_REQUESTS`, and writes what becomes of it to
/// the same line of the file `DOWNLINKD_FRAMES`: `{"long": HEX, "int": HEX or null}` or
/// `{"error": [CODE, ...]}`.
#[test]
#[ignore = "tests/e2e/test_catalog.py runs it"]
fn requests_become_frames() {
    let file = |name| env::var_os(name).unwrap_or_else(|| panic!("{name} names no file"));
    let requests = fs::read_to_string(file("DOWNLINKD_REQUESTS")).unwrap();
    let frames = requests.lines().map(|request| format!("{}\n", answer(request)));
    fs::write(file("DOWNLINKD_FRAMES"), frames.collect::<String>()).unwrap();
}

fn answer(request: &str) -> Value {
    let body = RequestBody::new(request.as_bytes());
    let request = match read_request(&body, "cloud", "px4-real-1", None) {
        Ok(request) => request,
        Err(error) => {
            let codes: Vec<_> = error.violations.iter().map(|violation| violation.code).collect();
            return json!({ "error": codes });
        }
    };
    let content = request.content;
    let frame = |body| {
        let frame =
            CommandFrame { target: AUTOPILOT, command: content.command, confirmation: 0, body };
        hex(command(0, US, &frame).as_slice())
    };
    let int = content.int().map(|params| frame(Body::Int { frame: content.frame, params }));
    json!({ "long": frame(Body::Long(content.long())), "int": int })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
