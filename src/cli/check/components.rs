//! What is behind an extra link, and whether the configured components are.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::line;
use crate::edge::link::Endpoint;
use crate::edge::link::probe::Heard;
use crate::wire::mavlink::Address;
use crate::wire::status::ExtraLinkStatus;

const ITEM: &str = "components";

/// What was heard on a link that leads to these components of the system; `None`: it will be learned,
/// by another link.
pub fn judge(
    endpoint: &Endpoint,
    heard: &Heard,
    system: Option<u8>,
    components: &BTreeSet<u8>,
) -> Finding {
    if heard.bytes == 0 {
        let advice = "is the component powered, TX wired to RX and ground to ground?";
        return Finding::failure(ITEM, format!("nothing is heard on {endpoint}"), advice);
    }
    if heard.frames == 0 {
        let found = format!("{} bytes on {endpoint}, and no MAVLink frame in them", heard.bytes);
        return Finding::failure(ITEM, found, "the baud rates of the two ends differ, most likely");
    }
    let sources: BTreeSet<Address> = heard.heartbeats.iter().map(|it| it.source).collect();
    let is_wanted = |it: &&Address| {
        components.contains(&it.component) && system.is_none_or(|system| it.system == system)
    };
    let found: BTreeSet<Address> = sources.iter().filter(is_wanted).copied().collect();
    let missing = components.iter().filter(|it| found.iter().all(|at| at.component != **it));
    let missing: Vec<String> = missing.map(|it| name(system, *it)).collect();
    if missing.is_empty() {
        return Finding::ok(ITEM, format!("HEARTBEAT of {} on {endpoint}", list(&found)));
    }
    let heard = if sources.is_empty() { "none".to_owned() } else { list(&sources) };
    Finding::failure(
        ITEM,
        format!("no HEARTBEAT of {} on {endpoint}; heard {heard}", missing.join(", ")),
        "set the components of [[link.extra]], or the system id of the component",
    )
}

/// What an agent that runs says of the link.
pub fn judge_status(link: &ExtraLinkStatus) -> Finding {
    let ExtraLinkStatus { state, endpoint, .. } = link;
    let (hears, misses) = ("hears their HEARTBEATs", "does not hear each HEARTBEAT");
    line::judge_status(ITEM, state, endpoint, hears, misses)
}

/// `1/100, 1/101`
fn list(addresses: &BTreeSet<Address>) -> String {
    let all = addresses.iter().map(|it| name(Some(it.system), it.component));
    all.collect::<Vec<_>>().join(", ")
}

/// `1/100`, or `any/100`
fn name(system: Option<u8>, component: u8) -> String {
    let system = system.map_or("any".to_owned(), |it| it.to_string());
    format!("{system}/{component}")
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::wire::mavlink::Heartbeat;
    use crate::wire::status::LinkCounters;

    fn heard(components: &[u8]) -> Heard {
        let heartbeat = |component: &u8| Heartbeat {
            source: Address { system: 1, component: *component },
            autopilot: 8,
            vehicle_type: 30,
            base_mode: 0,
            custom_mode: 0,
            system_status: 4,
        };
        let heartbeats = components.iter().map(heartbeat).collect();
        Heard { bytes: 100, frames: 5, heartbeats, ..Heard::default() }
    }

    #[test]
    fn what_is_on_the_line() {
        let endpoint: Endpoint = "serial:/dev/ttyUSB0:115200".parse().unwrap();
        let nothing = Heard::default();
        let noise = Heard { bytes: 100, ..Heard::default() };
        for (system, heard, level, found) in [
            (Some(1), nothing, Level::Failure, "nothing is heard on serial:/dev/ttyUSB0:115200"),
            (Some(1), noise, Level::Failure, "100 bytes on serial:"),
            (Some(1), heard(&[]), Level::Failure, "no HEARTBEAT of 1/100, 1/101 on serial:"),
            (Some(1), heard(&[100, 1]), Level::Failure, "HEARTBEAT of 1/101 on"),
            (Some(1), heard(&[100, 1]), Level::Failure, "heard 1/1, 1/100"),
            (Some(1), heard(&[101, 100, 1]), Level::Ok, "HEARTBEAT of 1/100, 1/101 on serial:"),
            (Some(2), heard(&[101, 100]), Level::Failure, "no HEARTBEAT of 2/100, 2/101 on"),
            (None, heard(&[101, 100]), Level::Ok, "HEARTBEAT of 1/100, 1/101 on serial:"),
            (None, heard(&[100]), Level::Failure, "no HEARTBEAT of any/101 on serial:"),
        ] {
            let finding = judge(&endpoint, &heard, system, &[100, 101].into());
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(found), "{finding:?}");
        }
    }

    #[test]
    fn what_the_agent_says() {
        for (state, level) in
            [("ready", Level::Ok), ("open", Level::Failure), ("closed", Level::Failure)]
        {
            let finding = judge_status(&ExtraLinkStatus {
                name: "camera".to_owned(),
                state: state.to_owned(),
                endpoint: "serial:/dev/ttyUSB0:115200".to_owned(),
                signed: false,
                counters: LinkCounters::default(),
            });
            assert_eq!(finding.level, level);
            assert!(finding.found.contains("/dev/ttyUSB0"), "{finding:?}");
        }
    }
}
