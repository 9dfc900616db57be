//! Grants in virtual time.

use std::collections::BTreeSet;

use super::*;
use crate::catalog::{self, Risk};

const START: Duration = Duration::from_secs(1000);
const ANA: Opener = Opener::Operator { uid: 1000 };
const BEN: Opener = Opener::Operator { uid: 1001 };

fn at(seconds: u64) -> Duration {
    START + Duration::from_secs(seconds)
}

fn command(name: &str) -> &'static Command {
    catalog::find(name).expect("a command of the catalogue")
}

fn takeoff() -> &'static Command {
    command("nav_takeoff")
}

fn request(scope: Scope) -> GrantRequest {
    GrantRequest {
        scopes: vec![scope],
        duration: Duration::from_secs(60),
        count: 3,
        issuer: None,
        reason: None,
    }
}

fn flight() -> GrantRequest {
    request(Scope::Risk(Risk::Flight))
}

fn critical() -> GrantRequest {
    request(Scope::Risk(Risk::Critical))
}

fn grants() -> Grants {
    Grants::new(Limits::default(), 0x7f3a_9c21)
}

/// Critical commands, and landing, need two persons.
fn two_person_grants() -> Grants {
    let two_person = TwoPerson { risks: [Risk::Critical].into(), commands: ["nav_land"].into() };
    Grants::new(Limits { two_person, ..Limits::default() }, 1)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> Code {
    result.expect_err("a refusal").code
}

#[test]
fn nothing_is_granted_at_the_start() {
    let grants = grants();
    assert_eq!(refused(grants.check(at(0), takeoff(), "cloud")), Code::GrantMissing);
    assert_eq!((grants.views(at(0)), grants.next_expiry()), (vec![], None));
}

#[test]
fn an_open_grant_lets_its_commands_through_until_its_time_is_over() {
    let mut grants = grants();
    let id = grants.open(at(0), ANA, flight()).unwrap().id;
    assert_eq!(grants.next_expiry(), Some(at(60)));
    let last = at(60) - Duration::from_nanos(1);
    assert_eq!(grants.check(last, takeoff(), "cloud"), Ok(id));
    assert_eq!(grants.holds(last, id), Ok(()));
    // Whether or not somebody has looked at the clock meanwhile.
    assert_eq!(refused(grants.check(at(60), takeoff(), "cloud")), Code::GrantExpired);
    assert_eq!(refused(grants.holds(at(60), id)), Code::GrantExpired);
    assert_eq!(grants.views(at(60)), []);
    assert_eq!(grants.expire(last), []);
    assert_eq!(grants.expire(at(60)), [id]);
    assert_eq!(refused(grants.check(at(60), takeoff(), "cloud")), Code::GrantExpired);
    assert_eq!(refused(grants.holds(at(60), id)), Code::GrantExpired);
    assert_eq!(grants.next_expiry(), None);
}

#[test]
fn why_a_grant_ended_is_told_for_a_while() {
    let mut grants = grants();
    grants.open(at(0), ANA, flight()).unwrap();
    grants.expire(at(60));
    let forgotten = at(60) + RECENT;
    let last = forgotten - Duration::from_nanos(1);
    assert_eq!(refused(grants.check(last, takeoff(), "cloud")), Code::GrantExpired);
    assert_eq!(refused(grants.check(forgotten, takeoff(), "cloud")), Code::GrantMissing);
}

#[test]
fn the_memory_of_ended_grants_is_bounded() {
    let mut grants = grants();
    let first = grants.open(at(0), ANA, request(Scope::Command("nav_land"))).unwrap().id;
    grants.expire(at(60));
    for round in 0..REMEMBERED as u64 {
        assert_eq!(refused(grants.check(at(61), command("nav_land"), "x")), Code::GrantExpired);
        grants.open(at(60 + round), ANA, request(Scope::Command("nav_takeoff"))).unwrap();
        grants.revoke(at(60 + round), None);
    }
    assert_eq!(grants.ended.len(), REMEMBERED);
    assert_eq!(refused(grants.check(at(61), command("nav_land"), "x")), Code::GrantMissing);
    assert_eq!(refused(grants.holds(at(61), first)), Code::GrantMissing);
}

#[test]
fn a_grant_is_used_up_by_its_count() {
    let mut grants = grants();
    let id = grants.open(at(0), ANA, flight()).unwrap().id;
    for left in [2, 1, 0] {
        assert_eq!(grants.check(at(1), takeoff(), "cloud"), Ok(id));
        grants.consume(at(1), id);
        let shown: Vec<u32> = grants.views(at(1)).iter().map(|view| view.count_left).collect();
        assert_eq!(shown, if left == 0 { vec![] } else { vec![left] });
    }
    assert_eq!(refused(grants.check(at(1), takeoff(), "cloud")), Code::GrantExhausted);
    // What it was used up by may still go, in its time.
    assert_eq!(grants.holds(at(59), id), Ok(()));
    assert_eq!(refused(grants.holds(at(60), id)), Code::GrantExpired);
    grants.consume(at(2), id);
    assert_eq!(refused(grants.check(at(2), takeoff(), "cloud")), Code::GrantExhausted);
}

#[test]
fn a_grant_that_is_used_up_can_still_be_taken_back() {
    let take_back: [fn(&mut Grants, GrantId); 4] = [
        |grants, id| assert_eq!(grants.revoke(at(2), Some(id)), [id]),
        |grants, id| assert_eq!(grants.revoke(at(2), None), [id]),
        |grants, id| assert_eq!(grants.link_lost(at(2)), [id]),
        |grants, _| grants.reconfigure(at(2), &grants.limits.clone(), true),
    ];
    for take_back in take_back {
        let mut grants = grants();
        let id = grants.open(at(0), ANA, GrantRequest { count: 1, ..flight() }).unwrap().id;
        grants.consume(at(1), id);
        assert_eq!(grants.take_changes(), Some(vec![(id, Ending::Exhausted)]));
        assert_eq!(grants.holds(at(1), id), Ok(()));
        take_back(&mut grants, id);
        assert_eq!(refused(grants.holds(at(2), id)), Code::GrantMissing);
        // Once, and its end is told once.
        assert_eq!(grants.revoke(at(3), Some(id)), []);
        assert_eq!(grants.take_changes(), None);
    }
    // With its time over nothing is left to take back.
    let mut grants = grants();
    let id = grants.open(at(0), ANA, GrantRequest { count: 1, ..flight() }).unwrap().id;
    grants.consume(at(1), id);
    assert_eq!(grants.revoke(at(60), Some(id)), []);
    assert_eq!(refused(grants.holds(at(60), id)), Code::GrantExpired);
}

#[test]
fn a_check_alone_counts_nothing() {
    let mut grants = grants();
    let id = grants.open(at(0), ANA, flight()).unwrap().id;
    for _ in 0..10 {
        assert_eq!(grants.check(at(1), takeoff(), "cloud"), Ok(id));
    }
    assert_eq!(grants.views(at(1))[0].count_left, 3);
}

/// By another mode, or by another limit.
fn reconfigured(grants: &mut Grants, max_duration: Option<Duration>) -> Vec<GrantId> {
    let held = grants.views(at(5)).iter().map(|view| view.id).collect();
    let limits = grants.limits.clone();
    // What is read again unchanged ends nothing.
    grants.reconfigure(at(5), &limits, false);
    assert_eq!(grants.take_changes(), None);
    match max_duration {
        Some(max_duration) => grants.reconfigure(at(5), &Limits { max_duration, ..limits }, false),
        None => grants.reconfigure(at(5), &limits, true),
    }
    held
}

#[test]
fn the_link_the_mode_and_a_hand_end_everything_open_and_pending() {
    type End = fn(&mut Grants) -> Vec<GrantId>;
    let ends: [(End, Ending); 4] = [
        (|grants| grants.link_lost(at(5)), Ending::LinkLost),
        (|grants| reconfigured(grants, None), Ending::Reconfigured),
        (|grants| reconfigured(grants, Some(Duration::from_secs(60))), Ending::Reconfigured),
        (|grants| grants.revoke(at(5), None), Ending::Revoked),
    ];
    for (end, ending) in ends {
        let mut grants = two_person_grants();
        let open = grants.open(at(0), ANA, flight_without_landing()).unwrap().id;
        let pending = grants.open(at(0), ANA, critical()).unwrap().id;
        assert!(grants.take_changes().is_some());
        assert_eq!(end(&mut grants), [open, pending]);
        assert_eq!(grants.take_changes(), Some(vec![(open, ending), (pending, ending)]));
        assert_eq!(grants.views(at(5)), []);
        assert_eq!(grants.next_expiry(), None);
        for id in [open, pending] {
            assert_eq!(refused(grants.holds(at(5), id)), Code::GrantMissing);
            assert_eq!(refused(grants.approve(at(5), BEN, id)), Code::GrantMissing);
        }
        let refusal = grants.check(at(5), takeoff(), "cloud").unwrap_err();
        assert_eq!(refusal.code, Code::GrantMissing);
        assert!(refusal.message.contains(ending.as_str()), "{}", refusal.message);
        assert_eq!(end(&mut grants), []);
        assert_eq!(grants.take_changes(), None);
    }
}

fn flight_without_landing() -> GrantRequest {
    request(Scope::Command("nav_takeoff"))
}

#[test]
fn one_grant_is_revoked_without_the_others() {
    let mut grants = grants();
    let first = grants.open(at(0), ANA, flight()).unwrap().id;
    let second = grants.open(at(1), ANA, flight()).unwrap().id;
    let revoke = |grants: &mut Grants, id| grants.act(at(2), BEN, Action::Revoke(id));
    assert_eq!(revoke(&mut grants, first), Ok(Answer::Revoked(vec![first])));
    assert_eq!(grants.check(at(2), takeoff(), "cloud"), Ok(second));
    assert_eq!(refused(revoke(&mut grants, first)), Code::GrantMissing);
    let unknown = GrantId { session: 7, number: 1 };
    assert_eq!(refused(revoke(&mut grants, unknown)), Code::GrantMissing);
    assert_eq!(grants.act(at(2), BEN, Action::RevokeAll), Ok(Answer::Revoked(vec![second])));
    assert_eq!(grants.act(at(2), BEN, Action::RevokeAll), Ok(Answer::Revoked(vec![])));
}

#[test]
fn scopes_over_the_whole_catalogue() {
    let navigation = Scope::Domain("navigation".to_owned());
    for command in catalog::all() {
        for (scope, covered) in [
            (Scope::Risk(Risk::Critical), true),
            (Scope::Risk(Risk::Flight), command.risk != Risk::Critical),
            (Scope::Risk(Risk::Payload), command.risk < Risk::Flight),
            (navigation.clone(), command.domain == "navigation"),
            (Scope::Command("nav_takeoff"), command.command_type == "nav_takeoff"),
        ] {
            let mut grants = grants();
            let told = scope.to_string();
            let id = grants.open(at(0), ANA, request(scope)).unwrap().id;
            let expected = if covered { Ok(id) } else { Err(Code::GrantMissing) };
            let checked = grants.check(at(1), command, "cloud").map_err(|it| it.code);
            assert_eq!(checked, expected, "{told}: {}", command.command_type);
        }
    }
    let of_risk = |risk| catalog::all().iter().filter(|it| it.risk == risk).count();
    assert!(of_risk(Risk::Flight) > 0 && of_risk(Risk::Critical) > 0);
}

#[test]
fn any_of_several_scopes_is_enough() {
    let mut grants = grants();
    let scopes = vec![Scope::Command("nav_land"), Scope::Domain("calibration".to_owned())];
    grants.open(at(0), ANA, GrantRequest { scopes, ..flight() }).unwrap();
    assert!(grants.check(at(1), command("nav_land"), "cloud").is_ok());
    assert!(grants.check(at(1), command("preflight_calibration"), "cloud").is_ok());
    assert_eq!(refused(grants.check(at(1), takeoff(), "cloud")), Code::GrantMissing);
}

#[test]
fn which_commands_need_a_grant() {
    let limits = Limits::default();
    for command in catalog::all() {
        let expected = matches!(command.risk, Risk::Flight | Risk::Critical);
        assert_eq!(limits.required_for(command), expected, "{}", command.command_type);
    }
}

#[test]
fn a_grant_for_one_issuer_is_no_other_issuers() {
    let mut grants = grants();
    let bound = GrantRequest { issuer: Some("cloud".to_owned()), ..flight() };
    let id = grants.open(at(0), Opener::Issuer("ops".to_owned()), bound).unwrap().id;
    assert_eq!(grants.check(at(1), takeoff(), "cloud"), Ok(id));
    for other in ["ops", "Cloud", "cloud2", ""] {
        assert_eq!(refused(grants.check(at(1), takeoff(), other)), Code::GrantMissing);
    }
    grants.expire(at(60));
    assert_eq!(refused(grants.check(at(60), takeoff(), "cloud")), Code::GrantExpired);
    // Nor does another issuer learn of it.
    assert_eq!(refused(grants.check(at(60), takeoff(), "ops")), Code::GrantMissing);
}

#[test]
fn of_several_grants_the_one_that_ends_first_is_used() {
    let mut grants = grants();
    let long = GrantRequest { duration: Duration::from_secs(600), ..flight() };
    let long = grants.open(at(0), ANA, long).unwrap().id;
    let short = grants.open(at(0), ANA, flight()).unwrap().id;
    assert_eq!(grants.check(at(1), takeoff(), "cloud"), Ok(short));
    assert_eq!(grants.check(at(60), takeoff(), "cloud"), Ok(long));
}

#[test]
fn limits() {
    let mut grants = grants();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (change, code) in [
        (GrantRequest { scopes: vec![], ..flight() }, Some(Code::RequestOutOfRange)),
        (GrantRequest { count: 0, ..flight() }, Some(Code::RequestOutOfRange)),
        (GrantRequest { duration: Duration::ZERO, ..flight() }, Some(Code::RequestOutOfRange)),
        (GrantRequest { count: 20, ..flight() }, None),
        (GrantRequest { count: 21, ..flight() }, Some(Code::PolicyOutOfBounds)),
        (GrantRequest { duration: minutes(15), ..flight() }, None),
        (
            GrantRequest { duration: minutes(15) + Duration::from_millis(1), ..flight() },
            Some(Code::PolicyOutOfBounds),
        ),
    ] {
        let told = format!("{change:?}");
        assert_eq!(grants.open(at(0), ANA, change).err().map(|it| it.code), code, "{told}");
    }
}

#[test]
fn only_so_many_grants_at_a_time() {
    let mut grants = grants();
    for _ in 0..8 {
        grants.open(at(0), ANA, flight()).unwrap();
    }
    assert_eq!(refused(grants.open(at(59), ANA, flight())), Code::PolicyOutOfBounds);
    assert_eq!(grants.views(at(59)).len(), 8);
    grants.open(at(60), ANA, flight()).unwrap();
    assert_eq!(grants.views(at(60)).len(), 1);
}

#[test]
fn two_persons() {
    let reboot = command("preflight_reboot_shutdown");
    let mut grants = two_person_grants();
    let view = grants.open(at(0), ANA, critical()).unwrap();
    let id = view.id;
    assert_eq!((view.state, view.approved_by), (State::Pending, None));

    let refusal = grants.check(at(1), reboot, "cloud").unwrap_err();
    assert_eq!(refusal.code, Code::GrantMissing);
    assert!(refusal.message.contains("second person"), "{}", refusal.message);
    // Not even what one person could open.
    assert_eq!(refused(grants.check(at(1), takeoff(), "cloud")), Code::GrantMissing);
    assert_eq!(refused(grants.approve(at(2), ANA, id)), Code::AuthNotPermitted);
    assert_eq!(refused(grants.check(at(2), reboot, "cloud")), Code::GrantMissing);

    let approved = grants.approve(at(20), BEN, id).unwrap();
    assert_eq!((approved.state, &approved.approved_by), (State::Open, &Some(BEN)));
    // The approval does not prolong it.
    assert_eq!(approved.time_left, Duration::from_secs(40));
    assert_eq!(grants.check(at(21), reboot, "cloud"), Ok(id));
    assert_eq!(grants.check(at(21), takeoff(), "cloud"), Ok(id));
    assert_eq!(grants.take_changes(), Some(vec![]));
    // The same message again changes nothing; a third person has nothing to approve.
    assert_eq!(grants.approve(at(20), BEN, id), Ok(approved));
    let third = Opener::Issuer("ops".to_owned());
    assert_eq!(refused(grants.approve(at(21), third, id)), Code::RequestInvalid);
    assert_eq!(grants.take_changes(), None);
}

#[test]
fn approval_must_come_within_the_time() {
    let mut grants = two_person_grants();
    let id = grants.open(at(0), ANA, critical()).unwrap().id;
    assert_eq!(refused(grants.approve(at(60), BEN, id)), Code::GrantExpired);
    assert_eq!(grants.expire(at(60)), [id]);
    assert_eq!(refused(grants.approve(at(60), BEN, id)), Code::GrantExpired);
    let unknown = GrantId { session: 9, number: 9 };
    assert_eq!(refused(grants.approve(at(60), BEN, unknown)), Code::GrantMissing);
}

#[test]
fn who_counts_as_another_person() {
    let ops = || Opener::Issuer("ops".to_owned());
    for (first, second, approves) in [
        (ANA, ANA, false),
        (ANA, BEN, true),
        (ops(), ops(), false),
        (ops(), ANA, true),
        (ops(), Opener::Issuer("lead".to_owned()), true),
    ] {
        let mut grants = two_person_grants();
        let id = grants.open(at(0), first, critical()).unwrap().id;
        let approved = grants.approve(at(1), second, id).map(|_| ()).map_err(|it| it.code);
        assert_eq!(approved, if approves { Ok(()) } else { Err(Code::AuthNotPermitted) });
    }
}

#[test]
fn every_scope_that_reaches_a_two_person_command_needs_two_persons() {
    let mut expected = BTreeSet::new();
    for command in catalog::all() {
        let two_person = command.risk == Risk::Critical || command.command_type == "nav_land";
        let scope = Scope::Command(command.command_type);
        let state = two_person_grants().open(at(0), ANA, request(scope)).unwrap().state;
        let wanted = if two_person { State::Pending } else { State::Open };
        assert_eq!(state, wanted, "{}", command.command_type);
        if two_person {
            expected.insert(command.domain);
        }
    }
    for domain in catalog::all().iter().map(|command| command.domain) {
        let scope = Scope::Domain(domain.to_owned());
        let state = two_person_grants().open(at(0), ANA, request(scope)).unwrap().state;
        assert_eq!(state == State::Pending, expected.contains(domain), "{domain}");
    }
    assert!(expected.contains("navigation") && !expected.contains("gimbal"));
    for (risk, wanted) in [
        (Risk::Payload, State::Open),
        // Landing is a flight command.
        (Risk::Flight, State::Pending),
        (Risk::Critical, State::Pending),
    ] {
        let state = two_person_grants().open(at(0), ANA, request(Scope::Risk(risk))).unwrap().state;
        assert_eq!(state, wanted, "{risk}");
    }
    // One scope of several is enough.
    let scopes = vec![Scope::Command("nav_takeoff"), Scope::Command("nav_land")];
    let view = two_person_grants().open(at(0), ANA, GrantRequest { scopes, ..flight() }).unwrap();
    assert_eq!(view.state, State::Pending);
}

#[test]
fn a_restart_leaves_nothing_and_no_id_comes_twice() {
    let mut before = grants();
    let id = before.open(at(0), ANA, flight()).unwrap().id;
    let mut after = Grants::new(Limits::default(), 2);
    assert_eq!(refused(after.check(at(1), takeoff(), "cloud")), Code::GrantMissing);
    assert_eq!(refused(after.holds(at(1), id)), Code::GrantMissing);
    let new = after.open(at(1), ANA, flight()).unwrap().id;
    assert_ne!(new, id);
    assert_eq!(refused(after.approve(at(1), BEN, id)), Code::GrantMissing);
}

#[test]
fn changes_are_told_once() {
    let mut grants = grants();
    assert_eq!(grants.take_changes(), None);
    let id = grants.open(at(0), ANA, GrantRequest { count: 2, ..flight() }).unwrap().id;
    assert_eq!(grants.take_changes(), Some(vec![]));
    grants.consume(at(1), id);
    assert_eq!(grants.take_changes(), Some(vec![]));
    grants.consume(at(2), id);
    assert_eq!(grants.take_changes(), Some(vec![(id, Ending::Exhausted)]));
    assert_eq!(grants.take_changes(), None);
}

#[test]
fn ids_are_text_in_one_form_only() {
    let id = grants().open(at(0), ANA, flight()).unwrap().id;
    assert_eq!(id.to_string(), "7f3a9c21-1");
    assert_eq!("7f3a9c21-1".parse(), Ok(id));
    for text in
        ["", "-", "7f3a9c21", "7F3A9C21-1", "7f3a9c21-01", "7f3a9c21-+1", "7f3a9c21--1", "a-1"]
    {
        assert!(text.parse::<GrantId>().is_err(), "{text}");
    }
}
