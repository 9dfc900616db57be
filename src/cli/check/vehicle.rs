//! What is on the line, and whether the configured autopilot is.

use crate::edge::link::Endpoint;
use crate::edge::link::probe::Heard;
use crate::guard::autopilot::Autopilot;
use crate::wire::mavlink::Heartbeat;
use crate::wire::status::LinkStatus;

use super::finding::Finding;
use super::line;

const ITEM: &str = "vehicle";
/// Of the bytes, in percent; the first frame is nearly always heard from its middle.
const MUCH_NOISE: u64 = 20;

/// The configured autopilot, or the first one where any may be it.
pub fn target(heard: &Heard, target: Autopilot) -> Option<&Heartbeat> {
    let may_be_it = |it: &&Heartbeat| {
        it.source.component == target.component && target.may_be_of(it.source.system)
    };
    autopilots(heard).find(may_be_it)
}

/// What was heard on the line.
pub fn judge(heard: &Heard, endpoint: &Endpoint, configured: Autopilot) -> Finding {
    if heard.bytes == 0 {
        return Finding::failure(
            ITEM,
            format!("nothing is heard on {endpoint}"),
            silence(endpoint),
        );
    }
    if heard.frames == 0 {
        let found = format!("{} bytes on {endpoint}, and no MAVLink frame in them", heard.bytes);
        return Finding::failure(ITEM, found, strangeness(endpoint));
    }
    let Some(own) = target(heard, configured) else {
        let wanted = match configured.address() {
            Some(address) => address.to_string(),
            None => format!("an autopilot of component {}", configured.component),
        };
        return match autopilots(heard).map(describe).collect::<Vec<_>>() {
            none if none.is_empty() => Finding::failure(
                ITEM,
                format!("MAVLink on {endpoint}, and no autopilot's HEARTBEAT"),
                "is this the autopilot's port, with its heartbeats streamed (PX4: MAV_1_MODE)?",
            ),
            others => Finding::failure(
                ITEM,
                format!(
                    "no HEARTBEAT of {wanted}, which is configured; heard {}",
                    others.join(", ")
                ),
                "set [link] target_system and target_component",
            ),
        };
    };
    let others: Vec<String> =
        autopilots(heard).filter(|it| it.source != own.source).map(describe).collect();
    let noise = heard.noise_bytes * 100 / heard.bytes;
    if !others.is_empty() {
        Finding::warning(
            ITEM,
            format!("{}, and on the same line {}", describe(own), others.join(", ")),
            match configured.system {
                Some(_) => "commands go to the configured one only; is it the right one?",
                None => {
                    "with [link] target_system = \"auto\" commands go to the one that speaks first; \
                     give the number of the right one"
                }
            },
        )
    } else if !own.is_of_px4() {
        Finding::warning(
            ITEM,
            format!("{} is no PX4", describe(own)),
            "what commands do on it is not known here; try each on the ground",
        )
    } else if noise > MUCH_NOISE {
        Finding::warning(
            ITEM,
            format!("{}, and {noise} % of the bytes are noise", describe(own)),
            "shorten the cable, connect the grounds, or lower the baud rate on both ends",
        )
    } else {
        let learned = if configured.system.is_none() { ", to be learned" } else { "" };
        Finding::ok(ITEM, format!("HEARTBEAT of {} on {endpoint}{learned}", describe(own)))
    }
}

fn autopilots(heard: &Heard) -> impl Iterator<Item = &Heartbeat> {
    heard.heartbeats.iter().filter(|it| it.is_of_autopilot())
}

/// What an agent that runs says of its link.
pub fn judge_status(link: &LinkStatus) -> Finding {
    let LinkStatus { state, endpoint, .. } = link;
    let (hears, misses) = ("hears its HEARTBEAT", "hears no HEARTBEAT");
    line::judge_status(ITEM, state, endpoint, hears, misses)
}

fn silence(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Serial { baud, .. } => format!(
            "is the autopilot powered, TX wired to RX and ground to ground? On PX4 the port needs \
             MAV_1_CONFIG (TELEM2) and SER_TEL2_BAUD = {baud}"
        ),
        Endpoint::UdpIn { .. } => {
            "does the autopilot send there, and does a firewall let it through?".to_owned()
        }
        Endpoint::TcpOut { .. } => "does the other end stream MAVLink?".to_owned(),
    }
}

fn strangeness(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Serial { baud, .. } => format!(
            "the baud rates differ, most likely: {baud} here, SER_TEL2_BAUD on PX4; or something \
             else talks on that port"
        ),
        _ => "something else than MAVLink arrives there".to_owned(),
    }
}

/// `1/1 (PX4, quadrotor)`
fn describe(heartbeat: &Heartbeat) -> String {
    let Heartbeat { source, autopilot, vehicle_type, .. } = heartbeat;
    let autopilot = match autopilot {
        0 => "generic autopilot".to_owned(),
        3 => "ArduPilot".to_owned(),
        12 => "PX4".to_owned(),
        other => format!("MAV_AUTOPILOT {other}"),
    };
    let vehicle = match vehicle_type {
        1 => "fixed wing".to_owned(),
        2 => "quadrotor".to_owned(),
        3 => "coaxial helicopter".to_owned(),
        4 => "helicopter".to_owned(),
        10 => "ground rover".to_owned(),
        11 => "surface boat".to_owned(),
        12 => "submarine".to_owned(),
        13 => "hexarotor".to_owned(),
        14 => "octorotor".to_owned(),
        15 => "tricopter".to_owned(),
        19..=25 => "VTOL".to_owned(),
        other => format!("MAV_TYPE {other}"),
    };
    format!("{}/{} ({autopilot}, {vehicle})", source.system, source.component)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::wire::mavlink::Address;
    use crate::wire::status::LinkCounters;

    const TARGET: Autopilot = Autopilot { system: Some(1), component: 1 };
    const LEARNED: Autopilot = Autopilot { system: None, component: 1 };

    fn heartbeat(system: u8, component: u8, autopilot: u8) -> Heartbeat {
        Heartbeat::example(Address { system, component }, autopilot)
    }

    fn heard(heartbeats: &[Heartbeat]) -> Heard {
        Heard {
            bytes: 1000,
            noise_bytes: 10,
            frames: 30,
            heartbeats: heartbeats.to_vec(),
            ..Heard::default()
        }
    }

    #[test]
    fn what_is_on_the_line() {
        let serial: Endpoint = "serial:/dev/ttyAMA0:921600".parse().unwrap();
        let udp: Endpoint = "udpin:0.0.0.0:14540".parse().unwrap();
        let px4 = heartbeat(1, 1, 12);
        let camera = heartbeat(1, 100, 8);
        let bytes = Heard { bytes: 4000, noise_bytes: 4000, ..Heard::default() };
        let noisy = Heard { noise_bytes: 400, ..heard(&[px4]) };
        for (heard, endpoint, level, found, advice) in [
            (heard(&[camera, px4]), &serial, Level::Ok, "1/1 (PX4, quadrotor)", ""),
            (
                Heard::default(),
                &serial,
                Level::Failure,
                "nothing is heard",
                "SER_TEL2_BAUD = 921600",
            ),
            (Heard::default(), &udp, Level::Failure, "nothing is heard", "firewall"),
            (bytes.clone(), &serial, Level::Failure, "4000 bytes", "baud rates differ"),
            (bytes, &udp, Level::Failure, "4000 bytes", "something else"),
            (heard(&[camera]), &serial, Level::Failure, "no autopilot", "autopilot's port"),
            (heard(&[]), &serial, Level::Failure, "no autopilot", "autopilot's port"),
            (heard(&[heartbeat(2, 1, 12)]), &serial, Level::Failure, "2/1 (PX4", "target_system"),
            (
                heard(&[px4, heartbeat(2, 1, 3)]),
                &serial,
                Level::Warning,
                "2/1 (ArduPilot",
                "right one",
            ),
            (heard(&[heartbeat(1, 1, 3)]), &serial, Level::Warning, "is no PX4", "on the ground"),
            (noisy, &serial, Level::Warning, "40 % of the bytes", "cable"),
        ] {
            let finding = judge(&heard, endpoint, TARGET);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(found), "{finding:?}");
            assert!(finding.advice.clone().unwrap_or_default().contains(advice), "{finding:?}");
        }
    }

    #[test]
    fn any_autopilot_of_the_component_may_be_learned() {
        let endpoint: Endpoint = "serial:/dev/ttyAMA0:921600".parse().unwrap();
        let camera = heartbeat(3, 100, 8);
        let (third, fourth) = (heartbeat(3, 1, 12), heartbeat(4, 1, 12));
        for (heartbeats, level, found, advice) in [
            (&[camera, third][..], Level::Ok, "3/1 (PX4, quadrotor) on serial", ""),
            (&[third, fourth], Level::Warning, "3/1 (PX4, quadrotor), and", "speaks first"),
            (&[fourth, third], Level::Warning, "4/1 (PX4, quadrotor), and", "speaks first"),
            (
                &[heartbeat(3, 2, 12)],
                Level::Failure,
                "autopilot of component 1",
                "target_component",
            ),
            (&[camera], Level::Failure, "no autopilot", "autopilot's port"),
        ] {
            let heard = heard(heartbeats);
            let finding = judge(&heard, &endpoint, LEARNED);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(found), "{finding:?}");
            assert!(finding.advice.clone().unwrap_or_default().contains(advice), "{finding:?}");
            assert_eq!(target(&heard, LEARNED).is_some(), level != Level::Failure);
        }
    }

    #[test]
    fn what_a_running_agent_says() {
        for (state, level) in
            [("ready", Level::Ok), ("open", Level::Failure), ("closed", Level::Failure)]
        {
            let link = LinkStatus {
                state: state.to_owned(),
                endpoint: "udpin:…".to_owned(),
                signed: false,
                counters: LinkCounters::default(),
                autopilot: None,
                other_autopilots: Vec::new(),
            };
            assert_eq!(judge_status(&link).level, level);
        }
    }
}
