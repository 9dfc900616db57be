mod encode;
mod pages;
mod properties;
mod snapshot;

use serde_json::{Map, Value};

use super::*;
use crate::code::Violation;

/// The command with this name.
fn command(command_type: &str) -> &'static Command {
    find(command_type).unwrap_or_else(|| panic!("no command {command_type}"))
}

fn payload(json: Value) -> Map<String, Value> {
    match json {
        Value::Object(payload) => payload,
        other => panic!("{other} is no object"),
    }
}

fn encode(command_type: &str, json: Value) -> Result<Encoded, Vec<Violation>> {
    command(command_type).encode(&payload(json), None)
}

#[test]
fn every_command_is_found_by_name_and_by_id() {
    assert_eq!(all().len(), 181);
    for command in all() {
        assert!(std::ptr::eq(find(command.command_type).unwrap(), command));
        assert!(std::ptr::eq(find_by_id(command.mavlink_command_id).unwrap(), command));
    }
    for unknown in ["", "NAV_ROI", "mav_cmd_nav_roi", "zzz"] {
        assert!(find(unknown).is_none(), "{unknown:?}");
    }
    assert!(find_by_id(0).is_none() && find_by_id(u16::MAX).is_none());
}

#[test]
fn domains_are_those_of_commands() {
    assert!(all().iter().all(|command| is_domain(command.domain)));
    for unknown in ["", "Navigation", "nav_roi"] {
        assert!(!is_domain(unknown), "{unknown:?}");
    }
}

#[test]
fn commands_with_a_location_and_only_they_go_as_command_int() {
    for command in all() {
        let expected =
            if command.has_location { Transport::CommandInt } else { Transport::CommandLong };
        assert_eq!(command.transport, expected, "{}", command.command_type);
    }
    assert_eq!(all().iter().filter(|command| command.has_location).count(), 47);
}

#[test]
fn nothing_that_moves_or_endangers_the_vehicle_is_repeatable() {
    for command in all() {
        assert!(!command.repeatable || command.risk < Risk::Flight, "{}", command.command_type);
        assert!(command.repeatable || command.risk > Risk::Query, "{}", command.command_type);
    }
}

#[test]
fn vocabularies_are_written_the_same_in_json_and_in_logs() {
    for transport in [Transport::CommandLong, Transport::CommandInt] {
        assert_eq!(serde_json::to_value(transport).unwrap(), transport.as_str());
    }
    for risk in [Risk::Query, Risk::Payload, Risk::Flight, Risk::Critical] {
        assert_eq!(serde_json::to_value(risk).unwrap(), risk.as_str());
    }
    for status in [Status::Current, Status::Superseded, Status::Deprecated, Status::Wip] {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}
