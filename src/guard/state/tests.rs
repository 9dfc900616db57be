use super::*;
use crate::code::Code;
use crate::guard::extra_link::LinkId;
use crate::guard::vehicle::Vehicle;
use crate::wire::mavlink::{Address, Telemetry};

const AUTOPILOT: Address = Address { system: 1, component: 1 };
const CAMERA: Address = Address { system: 1, component: 100 };
const OTHER_VEHICLE: Address = Address { system: 2, component: 1 };

const LOITER: u32 = 0x0304_0000;
const LANDED: Report = Report::ExtendedSysState { landed_state: 1 };
const FIX_3D: Report = Report::GpsRawInt { fix_type: 3 };
const HOME: Report = Report::HomePosition { latitude: 473_977_418, longitude: 85_455_939 };
const BATTERY: Report = Report::SysStatus { voltage_battery: 15_900, battery_remaining: 87 };

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn heartbeat(base_mode: u8, custom_mode: u32) -> Heartbeat {
    Heartbeat {
        source: AUTOPILOT,
        autopilot: 12,
        vehicle_type: 2,
        base_mode,
        custom_mode,
        system_status: 4,
    }
}

/// A vehicle whose link is open, and to whom nothing was told.
fn silent() -> Vehicle {
    let mut vehicle = Vehicle::new(AUTOPILOT);
    vehicle.opened(LinkId::MAIN);
    vehicle
}

fn tell(vehicle: &mut Vehicle, source: Address, report: Report, now: Duration) {
    vehicle.telemetry(&Telemetry { source, report }, now);
}

/// Everything known at 10 s: disarmed, landed, holding its position.
fn known_vehicle() -> Vehicle {
    let mut vehicle = silent();
    vehicle.heartbeat(LinkId::MAIN, &heartbeat(0x1D, LOITER), millis(10_000));
    for report in [LANDED, FIX_3D, HOME, BATTERY] {
        tell(&mut vehicle, AUTOPILOT, report, millis(10_000));
    }
    vehicle
}

fn mode(name: &str) -> FlightMode {
    FlightMode::named(name).unwrap()
}

/// One requirement each, with what makes it unknown.
fn requirements() -> Vec<(&'static str, Requirements, Duration)> {
    let none = Requirements::default;
    vec![
        ("HEARTBEAT", Requirements { armed: Some(false), ..none() }, HEARTBEAT_MAX_AGE),
        (
            "HEARTBEAT",
            Requirements { modes: vec![mode("auto.loiter"), mode("posctl")], ..none() },
            HEARTBEAT_MAX_AGE,
        ),
        (
            "HEARTBEAT",
            Requirements { max_heartbeat_age: Some(millis(2000)), ..none() },
            millis(2000),
        ),
        ("EXTENDED_SYS_STATE", Requirements { landed: Some(true), ..none() }, TELEMETRY_MAX_AGE),
        ("HOME_POSITION", Requirements { home_set: true, ..none() }, TELEMETRY_MAX_AGE),
        ("GPS_RAW_INT", Requirements { min_gps_fix: Some(3), ..none() }, TELEMETRY_MAX_AGE),
        ("SYS_STATUS", Requirements { min_battery: Some(30), ..none() }, TELEMETRY_MAX_AGE),
    ]
}

#[test]
fn what_was_told_counts_until_it_is_too_old() {
    let vehicle = known_vehicle();
    for (message, require, max_age) in requirements() {
        let last = millis(10_000) + max_age - millis(1);
        assert_eq!(require.check(vehicle.state(), last), Ok(()), "{require:?}");
        let refusal = require.check(vehicle.state(), last + millis(1)).unwrap_err();
        assert_eq!(refusal.code, Code::StateUnknown, "{require:?}");
        let told = format!("the last {message} is {:.1} s old", max_age.as_secs_f64());
        assert!(refusal.message.contains(&told), "{}", refusal.message);
    }
}

#[test]
fn what_was_never_told_is_unknown() {
    for (message, require, _) in requirements() {
        let refusal = require.check(silent().state(), millis(10_000)).unwrap_err();
        assert_eq!(refusal.code, Code::StateUnknown, "{require:?}");
        let told = format!("no {message} of the autopilot has come");
        assert!(refusal.message.contains(&told), "{}", refusal.message);
    }
    assert_eq!(Requirements::default().check(silent().state(), millis(10_000)), Ok(()));
}

#[test]
fn a_reopened_link_forgets_everything() {
    let mut vehicle = known_vehicle();
    tell(&mut vehicle, AUTOPILOT, Report::SystemTime { time_unix_usec: 1 << 50 }, millis(10_000));
    assert!(vehicle.gps_time(millis(10_000)).is_some());
    vehicle.closed(LinkId::MAIN);
    vehicle.opened(LinkId::MAIN);
    for (_, require, _) in requirements() {
        let refusal = require.check(vehicle.state(), millis(10_001)).unwrap_err();
        assert_eq!(refusal.code, Code::StateUnknown, "{require:?}");
    }
    assert_eq!(vehicle.gps_time(millis(10_001)), None);
}

#[test]
fn only_the_configured_autopilot_counts() {
    let mut vehicle = silent();
    let now = millis(10_000);
    for source in [CAMERA, OTHER_VEHICLE, Address { system: 1, component: 191 }] {
        vehicle.heartbeat(LinkId::MAIN, &Heartbeat { source, ..heartbeat(0x1D, LOITER) }, now);
        let time = Report::SystemTime { time_unix_usec: 1 << 50 };
        for report in [LANDED, FIX_3D, HOME, BATTERY, time] {
            tell(&mut vehicle, source, report, now);
        }
    }
    for (_, require, _) in requirements() {
        let refusal = require.check(vehicle.state(), now).unwrap_err();
        assert_eq!(refusal.code, Code::StateUnknown, "{require:?}");
    }
    assert_eq!(vehicle.gps_time(now), None);
    // Nor can they take back what the autopilot said.
    let mut vehicle = known_vehicle();
    vehicle.heartbeat(LinkId::MAIN, &Heartbeat { source: CAMERA, ..heartbeat(0x9D, 0) }, now);
    tell(&mut vehicle, OTHER_VEHICLE, Report::ExtendedSysState { landed_state: 2 }, now);
    assert_eq!(vehicle.state().armed(now), Ok(false));
    assert_eq!(vehicle.state().landed(now), Ok(true));
}

#[test]
fn what_is_against_what_must_be() {
    let none = Requirements::default;
    let armed = 0x9D;
    for (base_mode, custom_mode, report, require, told) in [
        (
            armed,
            LOITER,
            LANDED,
            Requirements { armed: Some(false), ..none() },
            "armed is true; the policy wants it to be false",
        ),
        (
            0x1D,
            LOITER,
            LANDED,
            Requirements { armed: Some(true), ..none() },
            "armed is false; the policy wants it to be true",
        ),
        (
            armed,
            LOITER,
            Report::ExtendedSysState { landed_state: 2 },
            Requirements { landed: Some(true), ..none() },
            "landed is false; the policy wants it to be true",
        ),
        (
            armed,
            0x0404_0000,
            LANDED,
            Requirements { modes: vec![mode("auto.loiter"), mode("posctl")], ..none() },
            "mode is auto.mission; the policy wants it to be auto.loiter or posctl",
        ),
        (
            armed,
            LOITER,
            Report::GpsRawInt { fix_type: 2 },
            Requirements { min_gps_fix: Some(3), ..none() },
            "the GPS fix is 2; the policy wants it to be at least 3",
        ),
        (
            armed,
            LOITER,
            Report::SysStatus { voltage_battery: 0, battery_remaining: 29 },
            Requirements { min_battery: Some(30), ..none() },
            "the battery's percentage is 29; the policy wants it to be at least 30",
        ),
    ] {
        let mut vehicle = silent();
        let now = millis(10_000);
        vehicle.heartbeat(LinkId::MAIN, &heartbeat(base_mode, custom_mode), now);
        tell(&mut vehicle, AUTOPILOT, report, now);
        let refusal = require.check(vehicle.state(), now).unwrap_err();
        assert_eq!((refusal.code, refusal.message.as_str()), (Code::StatePrecondition, told));
    }
}

#[test]
fn numbers_that_say_that_they_do_not_know() {
    let now = millis(10_000);
    let state = |report| {
        let mut vehicle = known_vehicle();
        tell(&mut vehicle, AUTOPILOT, report, now);
        vehicle.state().clone()
    };
    let why = |unknown: Unknown| unknown.why;
    for (landed_state, landed) in [
        (0, Err(Why::Undefined)),
        (1, Ok(true)),
        (2, Ok(false)),
        (3, Ok(false)),
        (4, Ok(false)),
        (5, Err(Why::Undefined)),
    ] {
        let state = state(Report::ExtendedSysState { landed_state });
        assert_eq!(state.landed(now).map_err(why), landed, "{landed_state}");
    }
    for (fix_type, fix) in
        [(0, Ok(0)), (1, Ok(1)), (6, Ok(6)), (7, Ok(3)), (8, Ok(3)), (9, Err(Why::Undefined))]
    {
        let state = state(Report::GpsRawInt { fix_type });
        assert_eq!(state.gps_fix(now).map_err(why), fix, "{fix_type}");
    }
    for (battery_remaining, battery) in [
        (-1, Err(Why::Undefined)),
        (0, Ok(0)),
        (100, Ok(100)),
        (101, Err(Why::Undefined)),
        (i8::MIN, Err(Why::Undefined)),
    ] {
        let state = state(Report::SysStatus { voltage_battery: 0, battery_remaining });
        assert_eq!(state.battery(now).map_err(why), battery, "{battery_remaining}");
    }
    let nowhere = state(Report::HomePosition { latitude: 0, longitude: 0 });
    assert_eq!(nowhere.home_set(now).map_err(why), Err(Why::Undefined));
    let equator = state(Report::HomePosition { latitude: 0, longitude: 85_455_939 });
    assert_eq!(equator.home_set(now), Ok(true));
}

#[test]
fn the_mode_is_known_of_a_px4_only() {
    let now = millis(10_000);
    for (autopilot, base_mode, armed, mode_is) in [
        (12, 0x1D, Ok(false), Ok(mode("auto.loiter"))),
        // MAV_MODE_FLAG_CUSTOM_MODE_ENABLED is not set.
        (12, 0x1C, Ok(false), Err(Why::Undefined)),
        // ArduPilot
        (3, 0x9D, Ok(true), Err(Why::Undefined)),
        // Not a flight controller.
        (8, 0x1D, Err(Why::Undefined), Err(Why::Undefined)),
    ] {
        let mut vehicle = silent();
        vehicle.heartbeat(
            LinkId::MAIN,
            &Heartbeat { autopilot, ..heartbeat(base_mode, LOITER) },
            now,
        );
        let state = vehicle.state();
        assert_eq!(state.armed(now).map_err(|unknown| unknown.why), armed, "{autopilot}");
        assert_eq!(state.mode(now).map_err(|unknown| unknown.why), mode_is, "{autopilot}");
    }
}

#[test]
fn gps_time_needs_a_3d_fix_before_and_now() {
    let time = |seconds: u64| Report::SystemTime { time_unix_usec: seconds * 1_000_000 };
    let fix = |fix_type| Report::GpsRawInt { fix_type };
    // Reports in order, one in each 100 ms; then the time that is told 1 s after the last.
    for (reports, expected) in [
        (vec![fix(3), time(1_781_481_600)], Some(1_781_481_601_000)),
        (vec![fix(6), time(1_781_481_600), fix(6)], Some(1_781_481_601_100)),
        // The time was told before the fix: perhaps PX4's clock was not set yet.
        (vec![time(1_781_481_600), fix(3)], None),
        (vec![fix(2), time(1_781_481_600)], None),
        (vec![fix(2), time(1_781_481_600), fix(3)], None),
        // The fix is gone.
        (vec![fix(3), time(1_781_481_600), fix(1)], None),
        (vec![time(1_781_481_600)], None),
        (vec![fix(3)], None),
        // Nobody's time, and the newer word counts.
        (vec![fix(3), time(0)], None),
        (vec![fix(3), Report::SystemTime { time_unix_usec: u64::MAX }], None),
        (vec![fix(3), time(1_781_481_600), time(0)], None),
    ] {
        let mut vehicle = silent();
        let mut now = millis(10_000);
        for report in &reports {
            now += millis(100);
            tell(&mut vehicle, AUTOPILOT, *report, now);
        }
        let told = vehicle.gps_time(now + millis(1000));
        assert_eq!(told.map(Timestamp::as_millis), expected, "{reports:?}");
    }
    let mut vehicle = silent();
    tell(&mut vehicle, AUTOPILOT, FIX_3D, millis(10_000));
    tell(&mut vehicle, AUTOPILOT, time(1_781_481_600), millis(10_000));
    tell(&mut vehicle, AUTOPILOT, FIX_3D, millis(14_000));
    assert!(vehicle.gps_time(millis(14_999)).is_some());
    assert_eq!(vehicle.gps_time(millis(15_000)), None);
}
